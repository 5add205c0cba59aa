"""Two rounds: what a first student has learned to see corrects what is believed.

The first student learns what the teacher's words say of each image by itself. Its features then
tell images of one kind from others better than those that it began with, and better than it has
learned the wrong labels among them, which are many only late in a training (early learning: Liu et
al., 2020). So all images are looked at together, with its features as a further space beside the
teacher's. Where that is something else than it has learned, the student that is kept starts from
the first one's weights and learns what came out. What a person decided is certain and stays so.

It learns the words, and not what the refined labels say, as a second opinion is worth more where
it is one: what refining took wrongly for one kind the student would have learned to see as one.
Where refined labels are sure, though, a student of words that know less is no help.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from pipeline.config import StudentConfig
from pipeline.records import write_table
from pipeline.student.lessons import Lessons

# Share of the images that must be believed to be others than before for that to be something new.
WORTH = 0.01
# Mean probability of what images of refined labels are believed to be, from which on there is one
# round. It is an estimate of how many are right. Of seven sets of labels two have 0.97 and more,
# and one round is no worse; five have 0.93 and less, and two are better: docs/student.md.
SURE = 0.95


class Onlooker(Protocol):
    """What can be asked about all images that teach. Answers have the columns id and probabilities,
    a list in the order of the student's answers that sums to 1; an image may be missing."""

    def by_space(self) -> tuple[Sequence[str], np.ndarray] | None:
        """Return ids of images, and unit vectors (n, dim) of what sees better than the teachers;
        None where nothing does."""
        ...

    def by_words(self) -> pl.DataFrame:
        """Return what the teacher's words say of each image by itself."""
        ...

    def by_student(self, weights: Path, kept: Path) -> pl.DataFrame:
        """Return what the images are believed to be, looked at together, with a student's features
        beside what the teacher sees.

        Args:
            weights: of the student.
            kept: folder for its vectors.
        """
        ...


@dataclass(frozen=True)
class LastRound:
    """How the student that is kept is trained."""

    lessons: Lessons
    place: Path  # the folder
    start: Path | None = None  # weights; None: the model of the config


def has_second_look(config: StudentConfig) -> bool:
    """Say whether the images are looked at again: by themselves wherever beliefs are learned."""
    return config.rounds == 2 or (config.rounds == "auto" and config.distill == "soft")


def last_round(
    lessons: Lessons,
    config: StudentConfig,
    folder: Path,
    fit: Callable[[Lessons, Path], object],
    onlooker: Onlooker,
    say: Callable[[str], None],
) -> LastRound:
    """Train a first student, look at the images by its sight, and return what is left to do.

    Args:
        lessons: soft ones, as labeled.
        config: of it counts whether there must be two rounds.
        folder: of the training; it keeps what was found, so that a killed training goes on.
        fit: trains a student in a folder and leaves weights.pt there.
        onlooker: asked for what the first student learns, and then shown the images with it.
        say: told what is done, and how much it changed.
    """
    words, again, first = folder / "words.parquet", folder / "again.parquet", folder / "first"
    weights, seen = first / "weights.pt", first / "seen"
    if not words.is_file():
        write_table(words, onlooker.by_words())
    learned, n = _with(lessons, pl.read_parquet(words)), len(lessons.ids)
    if config.rounds == "auto" and _moved(learned, lessons) >= WORTH * n and _is_sure(lessons):
        say("The labels are sure, so that a second look is not needed: there is one round.")
        return LastRound(lessons, folder)
    if not (again.is_file() and weights.is_file()):
        say("First round: a student of what the words say, whose features will look at the images.")
        first.mkdir(parents=True, exist_ok=True)
        fit(learned, first)
        say("All images are looked at together once more, by the student's features, too.")
        write_table(again, onlooker.by_student(weights, seen))
        shutil.rmtree(seen, ignore_errors=True)
    found = _with(lessons, pl.read_parquet(again))
    changed = _moved(learned, found)
    say(f"{changed:,} of {n:,} images are believed to be others now than by the words.")
    if config.rounds == 2 or changed >= WORTH * n:
        say("Second round: the student goes on with what is believed now.")
        return LastRound(found, folder, weights)
    say("That is too few to be learned anew: the student stays as it is.")
    return LastRound(lessons, first)  # whose epochs are all there


def _is_sure(lessons: Lessons) -> bool:
    """Say whether the images are mostly what they are believed to be, by the beliefs' own word."""
    assert lessons.believed is not None
    return float(lessons.believed.max(axis=1).mean()) >= SURE


def _with(lessons: Lessons, believed: pl.DataFrame) -> Lessons:
    """The lessons by other beliefs, of the images that these know and nobody has decided about."""
    assert lessons.believed is not None and lessons.certain is not None
    row_of = {one: row for row, one in enumerate(believed["id"])}
    rows = np.array([row_of.get(one, -1) for one in lessons.ids])
    open_ = (rows >= 0) & ~lessons.certain
    shares = lessons.believed.copy()
    flat = believed["probabilities"].explode().to_numpy().astype(np.float64)
    shares[open_] = flat.reshape(len(believed), -1)[rows[open_]]
    return lessons.learning(shares)


def _moved(before: Lessons, after: Lessons) -> int:
    """How many images are most likely of another class."""
    assert before.believed is not None and after.believed is not None
    return int((before.believed.argmax(axis=1) != after.believed.argmax(axis=1)).sum())
