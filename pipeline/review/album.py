"""The images of a run as columns in memory: what the page filters and orders by."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.records import DATASET, LABELS, SPLITS, read_table
from pipeline.run.stage import Run

_MANY = 4000  # images of a class among which alike ones are looked for


@dataclass(frozen=True)
class Wanted:
    """Which images a person wants to see; None: all."""

    class_name: str | None = None
    split: str | None = None  # one of `records.SPLITS`; "none": in no split
    least_doubt: float = 0.0
    moved: bool | None = None
    source: str | None = None  # the folder that an image lies in


class Album:
    """All labeled images of a run. Rows keep their numbers; guesses and doubt change with answers.

    Args:
        labels: with the columns id, path, guess, confidence, doubt, moved and decision.
        splits: image id → split.
        classes: in class order.
    """

    def __init__(
        self,
        labels: pl.DataFrame,
        splits: pl.DataFrame,
        classes: Sequence[str],
        vectors_of: str | None,
    ) -> None:
        self.classes = tuple(classes)
        self.ids: list[str] = labels["id"].to_list()
        self.row_of = {image_id: row for row, image_id in enumerate(self.ids)}
        self.paths = labels["path"]
        self.vectors_of = vectors_of
        known = labels.join(splits, "id", "left", maintain_order="left")
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.guess: np.ndarray = (
            known["guess"].replace_strict(numbers, default=-1, return_dtype=pl.Int32).to_numpy()
        )
        self.first_guess = self.guess
        self.doubt: np.ndarray = known["doubt"].fill_null(0.0).to_numpy()
        self.moved: np.ndarray = known["moved"].fill_null(False).to_numpy()
        self.decided: np.ndarray = (known["decision"] == "human").to_numpy()
        split = known["split"].replace_strict(
            {name: number for number, name in enumerate(SPLITS)},
            default=-1,
            return_dtype=pl.Int8,
        )
        self._split: np.ndarray = split.to_numpy()
        folders = self.paths.str.replace(r"[/\\][^/\\]*$", "")
        self.sources: list[str] = folders.unique().sort().to_list()
        self._source: np.ndarray = folders.rank("dense").cast(pl.Int64).to_numpy() - 1
        # Whether somebody has answered, also by leaving the image out.
        self.closed = self.decided.copy()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, run: Run, vectors_of: str | None) -> Album:
        """Read the album of a run.

        Args:
            run: which has been labeled.
            vectors_of: fingerprint of the teacher whose vectors tell what is alike.

        Raises:
            WorkspaceError: there are no labels yet, or they are damaged.
        """
        columns = ["id", "path", "guess", "confidence", "doubt", "moved", "decision"]
        labels = read_table(run.workspace.labels, LABELS, "label", columns)
        splits = pl.DataFrame(schema={"id": pl.String, "split": pl.String})
        if run.workspace.dataset_table.is_file():
            splits = read_table(run.workspace.dataset_table, DATASET, "label", ["id", "split"])
        return cls(labels, splits.unique("id"), run.ontology.classes, vectors_of)

    @property
    def places(self) -> pl.DataFrame:
        """The columns id and path of all images."""
        return pl.DataFrame(
            {"id": self.ids, "path": self.paths}, schema_overrides={"id": pl.String}
        )

    @property
    def labels(self) -> pl.DataFrame:
        """The labels of now: columns id, class, guess, plain, doubt and decision."""
        names = pl.Series(self.classes, dtype=pl.String)
        guess = names.gather(pl.Series(self.guess).replace(-1, None))
        known = {"id": self.ids, "class": guess, "guess": guess, "plain": guess}
        labels = pl.DataFrame(known | {"doubt": self.doubt})
        return labels.with_columns(decision=pl.lit("accepted"))

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, image_id: str) -> Path | None:
        """Return where an image lies; None where it is none of the run's."""
        row = self.row_of.get(image_id)
        return None if row is None else Path(self.paths[row])

    def name_of(self, row: int) -> str | None:
        """Return the class that an image is called now."""
        number = int(self.guess[row])
        return self.classes[number] if number >= 0 else None

    def close(self, ids: Collection[str], closed: bool = True) -> None:
        """Note that images were answered, or are open again."""
        rows = [self.row_of[one] for one in ids if one in self.row_of]
        with self._lock:
            self.closed[rows] = closed

    def relabel(self, guess: np.ndarray, doubt: np.ndarray, rows: np.ndarray) -> int:
        """Take new guesses and doubt for some rows; returns how many of all have another class than
        they had when the album was read."""
        with self._lock:
            fresh, doubts = self.guess.copy(), self.doubt.copy()
            fresh[rows], doubts[rows] = guess, doubt
            self.guess, self.doubt = fresh, doubts
        return int((self.guess != self.first_guess).sum())

    def rows(self, wanted: Wanted, closed: bool | None = False) -> np.ndarray:
        """Return the rows (m,) that are wanted: those that are still open, the answered ones, or
        with None both."""
        fits = np.ones(len(self), bool) if closed is None else self.closed == closed
        if wanted.class_name is not None:
            number = self.classes.index(wanted.class_name)
            fits &= self.guess == number
        if wanted.split is not None:
            split = SPLITS.index(wanted.split) if wanted.split in SPLITS else -1
            fits &= self._split == split
        if wanted.least_doubt > 0:
            fits &= self.doubt >= wanted.least_doubt
        if wanted.moved is not None:
            fits &= self.moved == wanted.moved
        if wanted.source is not None:
            fits &= self._source == self.sources.index(wanted.source)
        found: np.ndarray = np.flatnonzero(fits)
        return found

    def candidates(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Return the rows among `rows` that are called as the seed is, the most doubtful some
        thousands of them."""
        same: np.ndarray = rows[self.guess[rows] == self.guess[seed]]
        if len(same) > _MANY:
            order = np.argpartition(-self.doubt[same], _MANY)[:_MANY]
            same = np.union1d(same[order], [seed])
        return same

    def most_doubtful(self, rows: np.ndarray) -> int:
        """Return the row of the most doubtful label among `rows`, of which there are some."""
        return int(rows[self.doubt[rows].argmax()])

    def per_class(self) -> list[tuple[str, int, int]]:
        """Return for each class its name, how many images are called so, and how many of them
        nobody has answered about."""
        n = len(self.classes)
        named = self.guess >= 0
        every = np.bincount(self.guess[named], minlength=n)
        open_ = np.bincount(self.guess[named & ~self.closed], minlength=n)
        return list(zip(self.classes, every.tolist(), open_.tolist(), strict=True))
