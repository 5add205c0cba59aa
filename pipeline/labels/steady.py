"""Yesterday's labels do not flap: one moves only where today's evidence is clearly better.

Refinement looks at the whole batch, so every new image shifts every other's probabilities a little,
and the images near a border between classes would change sides from night to night. Such a label
stands as it was, with its probabilities: evidence is compared with that of the day when the label
was made, so that many small steps are a large one in the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.labels.verdicts import Verdicts
from pipeline.records import LABELS, read_table
from pipeline.values import counted

# Natural logarithm of odds. At 1, the new class is 2.7 times as probable as the old one.
_CLEAR = 1.0
MANY = 0.05  # share of earlier labels that may move before it is a warning


@dataclass(frozen=True)
class Earlier:
    """The last labeling of a run."""

    labels: pl.DataFrame  # columns id, class, guess, confidence and decision, of labels.parquet
    file: Path  # labels.parquet

    @classmethod
    def read(cls, file: Path) -> Earlier:
        """Read the last labeling.

        Raises:
            WorkspaceError: the file is damaged.
        """
        columns = ["id", "class", "guess", "confidence", "decision"]
        return cls(read_table(file, LABELS, "label", columns), file)

    def of(self, ids: pl.Series) -> pl.DataFrame:
        """Return the rows of some images, in their order; null for those that are new."""
        rows = pl.DataFrame({"id": ids}, {"id": pl.String})
        return rows.join(self.labels, "id", "left", maintain_order="left")


def hold(verdicts: Verdicts, ids: pl.Series, earlier: Earlier) -> Verdicts:
    """Let yesterday's accepted labels stand where what speaks against them today is not clear.

    A label would move where another class is the most probable now, where its own probability fell
    below what is asked for, or where the image counts as one that fits no class. Each is clear from
    a difference of 1 in log-odds: of the new class over the old one, of the old class's probability
    then and now, of how unlike the image is and the limit. What people decided is never held.

    Args:
        verdicts: of today.
        ids: of the images, row by row.
        earlier: the last labeling, with the same classes.

    Returns:
        The verdicts with yesterday's probabilities in the rows that stand, which are named in
        `kept`.
    """
    numbers = {name: number for number, name in enumerate(verdicts.classes)}
    then = earlier.of(ids)
    accepted = then["decision"].eq_missing(pl.Series(["accepted"])).to_numpy()
    old = then["guess"].replace_strict(numbers, default=-1, return_dtype=pl.Int64).to_numpy()
    same = verdicts.accepted & (verdicts.guess == old)
    rows = np.flatnonzero(accepted & (old >= 0) & (verdicts.known < 0) & ~same)
    now = verdicts.probabilities[rows, old[rows]]
    top = verdicts.probabilities[rows, verdicts.guess[rows]]
    was = then["confidence"].to_numpy()[rows]
    another = verdicts.guess[rows] != old[rows]
    against = np.where(another, _log(top) - _log(now), _odds(was) - _odds(now))
    if verdicts.limit is not None:
        strange = _odds(verdicts.unlike[rows]) - _odds(np.array(verdicts.limit))
        against = np.maximum(against, strange)
    rows = rows[against < _CLEAR]
    if not len(rows):
        return verdicts
    shares = _probabilities(earlier.file, then[rows]["id"])
    kept = np.zeros(len(ids), bool)
    kept[rows] = True
    return replace(verdicts.with_rows(rows, shares), kept=kept)


def _probabilities(file: Path, ids: pl.Series) -> np.ndarray:
    """Yesterday's probabilities (m, classes) of some images."""
    wanted = pl.DataFrame({"id": ids})
    found = (
        pl.scan_parquet(file, glob=False)
        .select("id", "probabilities")
        .join(wanted.lazy(), "id", "semi")
        .collect()
    )
    rows = wanted.join(found, "id", "left", maintain_order="left")["probabilities"]
    found_rows: np.ndarray = np.array(rows.to_list(), np.float32)
    return found_rows


def moved_since(labels: pl.DataFrame, earlier: Earlier) -> tuple[int, int]:
    """Return how many earlier labels there are whose images are still there, and how many of them
    are others today. What people decided has not moved.

    Args:
        labels: of today, columns id, class and decision.
        earlier: the last labeling.
    """
    had = earlier.labels.filter(pl.col("class").is_not_null()).select("id", was="class")
    both = labels.filter(pl.col("decision") != "human").join(had, "id")
    return len(both), len(both.filter(pl.col("class").ne_missing(pl.col("was"))))


def changed_sentence(changed: int, before: int, alike: bool) -> str:
    """Say how many labels are others than the last time.

    Args:
        changed: so many.
        before: of so many.
        alike: whether only images have come and gone since.
    """
    share = f"{changed:,} of {counted(before, 'earlier label')} moved ({changed / before:.1%})"
    if not alike:
        return f"{share}: prompts, teacher, settings or decisions are not what they were."
    if changed <= MANY * before:
        return f"{share}, by what the new images show."
    return (
        f"{share}, though nothing but images is new. Look at the moves in the report: where the "
        "new images are of another kind, give them a `source:` and a run of their own."
    )


def _log(shares: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.log(np.maximum(shares.astype(np.float64), 1e-12))
    return found


def _odds(shares: np.ndarray) -> np.ndarray:
    """Log-odds."""
    found: np.ndarray = _log(shares) - _log(1 - shares)
    return found
