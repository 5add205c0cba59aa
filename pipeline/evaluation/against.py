"""Two students compared, image by image where they saw the same ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.errors import SourceError
from pipeline.evaluation.metrics import mcnemar_p
from pipeline.records import read_table

ANSWERS: dict[str, Any] = {
    "id": pl.String,
    "truth": pl.String,  # a person's label; null where nobody labeled
    "teacher": pl.String,
    "student": pl.String,
    "confidence": pl.Float32,  # the student's
}
_RESAMPLED = 2000


@dataclass(frozen=True)
class Difference:
    """New minus old, with its 95 % interval; shares."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Against:
    """A new student's answers beside an old one's."""

    measure: str  # "accuracy" or "agreement"
    paired: bool  # on the same images
    images: int
    new: float  # share right
    old: float
    only_new_right: int | None  # this and the next two None unless paired
    only_old_right: int | None
    p_value: float | None
    difference: Difference
    promoted: str | None = None  # the old one's name, where it is the one in use

    def as_json(self) -> dict[str, Any]:
        """Return what is written of it, the sentence included."""
        return asdict(self) | {"sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """The comparison in a sentence or two."""
        points = f"{self.difference.value * 100:+.1f} points"
        between = f"{self.difference.low * 100:+.1f} to {self.difference.high * 100:+.1f}"
        what = "right" if self.measure == "accuracy" else "of one mind with the teacher"
        images = f"the same {self.images:,} images" if self.paired else "different images"
        sentence = (
            f"On {images} the new student is {what} on {self.new:.1%}, the earlier one on "
            f"{self.old:.1%}: {points} ({between} with 95 % confidence"
        )
        if self.p_value is None:
            return f"{sentence}; not paired)."
        p = "< 0.001" if self.p_value < 0.001 else f"= {self.p_value:.3f}"
        return f"{sentence}; exact McNemar test: p {p})."


def against(new: pl.DataFrame, old: pl.DataFrame, seed: int = 0) -> Against:
    """Hold a new student's answers against an old one's.

    Right is what a person said; where nobody did, for any image, what the teacher said, and then
    the measure is agreement. On images that both answered the comparison is paired: an exact
    McNemar test, and a bootstrap interval over images (Efron, 1979). Without common images the two
    are resampled apart, which needs many more images to show the same.

    Args:
        new: a table with the schema `ANSWERS`.
        old: likewise.
        seed: of the resampling.
    """
    known = new["truth"].null_count() < len(new) and old["truth"].null_count() < len(old)
    right = pl.col("student") == pl.col("truth" if known else "teacher")
    sides = [
        table.filter(pl.col("truth").is_not_null() if known else True).select("id", right=right)
        for table in (new, old)
    ]
    common = sides[0].join(sides[1], "id", suffix="_old")
    paired = not common.is_empty()
    if paired:
        first, second = common["right"].to_numpy(), common["right_old"].to_numpy()
    else:
        first, second = sides[0]["right"].to_numpy(), sides[1]["right"].to_numpy()
    low, high = np.quantile(_resampled(first, second, paired, seed), [0.025, 0.975]).tolist()
    only_new = int((first & ~second).sum()) if paired else None
    only_old = int((second & ~first).sum()) if paired else None
    return Against(
        measure="accuracy" if known else "agreement",
        paired=paired,
        images=len(first),
        new=float(first.mean()),
        old=float(second.mean()),
        only_new_right=only_new,
        only_old_right=only_old,
        p_value=None if only_new is None or only_old is None else mcnemar_p(only_new, only_old),
        difference=Difference(float(first.mean() - second.mean()), low, high),
    )


def _resampled(first: np.ndarray, second: np.ndarray, paired: bool, seed: int) -> np.ndarray:
    """Differences of the shares right, over resampled images."""
    rng = np.random.default_rng(seed)
    if paired:
        gains = first.astype(np.int8) - second.astype(np.int8)
        # Only how often each of three outcomes comes matters, so they are drawn as counts.
        shares = [float((gains == outcome).mean()) for outcome in (1, 0, -1)]
        drawn = rng.multinomial(len(gains), shares, _RESAMPLED)
        differences: np.ndarray = (drawn[:, 0] - drawn[:, 2]) / len(gains)
        return differences
    new = rng.binomial(len(first), first.mean(), _RESAMPLED) / len(first)
    old = rng.binomial(len(second), second.mean(), _RESAMPLED) / len(second)
    return new - old


def read_answers(place: Path) -> pl.DataFrame:
    """Read the answers of another evaluation: a run's folder, a kept student's, or a file in one.

    Raises:
        SourceError: there are none.
    """
    from pipeline.evaluation.against import ANSWERS

    folder = place if place.is_dir() else place.parent
    file = folder / "answers.parquet"
    if not file.is_file():
        raise SourceError(
            f"{folder} holds no answers.parquet. Name a run's folder that was evaluated, or one of "
            "`students/` in it."
        )
    return read_table(file, ANSWERS, "evaluate")
