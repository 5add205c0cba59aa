"""A second round: what the first student has learned to see corrects what is believed.

The first student learns what the teacher believes. Its features then tell images of one kind from
others better than those that it began with, and better than it has learned the wrong labels among
them, which are many only late in a training (early learning: Liu et al., 2020). So all images are
looked at together once more, with its features as a further space beside the teacher's. Where that
changes what is believed, the student that is kept starts from the first one's weights and learns
what came out. What a person decided is certain and stays so.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.config import StudentConfig
from pipeline.records import write_table
from pipeline.student.epochs import EpochReport
from pipeline.student.lessons import Lessons

# Weights of a student, and a folder for vectors → columns id and probabilities, in the order of
# the student's answers.
LookAgain = Callable[[Path, Path], pl.DataFrame]

# Share of the images that must be believed to be others than before for `rounds: auto` to train a
# second student. Where fewer are, there is nothing new to learn: docs/student.md.
WORTH = 0.01


@dataclass(frozen=True)
class SecondLook:
    """What the images are believed to be by the sight of a first student."""

    lessons: Lessons
    first: Path  # the first student's folder: weights.pt, and what its training left
    changed: float  # share of the images that are most likely of another class by it


def has_second_look(config: StudentConfig) -> bool:
    """Say whether the images are looked at again: by themselves wherever beliefs are learned."""
    return config.rounds == 2 or (config.rounds == "auto" and config.distill == "soft")


def look_by_first(
    lessons: Lessons,
    folder: Path,
    fit: Callable[[Lessons, Path], list[EpochReport]],
    look_again: LookAgain,
    say: Callable[[str], None],
) -> SecondLook:
    """Train a first student, and return what the images are believed to be by its sight.

    Args:
        lessons: soft ones.
        folder: keeps what was found, so that a killed training goes on.
        fit: trains a student in a folder and leaves weights.pt there.
        look_again: shows the images to it.
        say: told what is done, and how much it changed.
    """
    file, first = folder / "again.parquet", folder / "first"
    weights, seen = first / "weights.pt", first / "seen"
    if not (file.is_file() and weights.is_file()):
        say("First round: a student whose features will look at the images once more.")
        first.mkdir(parents=True, exist_ok=True)
        fit(lessons, first)
        say("All images are looked at together once more, by the student's features, too.")
        write_table(file, look_again(weights, seen))
        shutil.rmtree(seen, ignore_errors=True)
    corrected, changed = _corrected(lessons, pl.read_parquet(file))
    say(f"By them {changed:,} of {len(lessons.ids):,} images are believed to be others now.")
    return SecondLook(corrected, first, changed / len(lessons.ids))


def is_worth_a_round(config: StudentConfig, look: SecondLook) -> bool:
    """Say whether a second student is trained after a second look: always where two rounds are
    asked for, else where it has changed more than a few of the beliefs."""
    return config.rounds == 2 or look.changed >= WORTH


def _corrected(lessons: Lessons, again: pl.DataFrame) -> tuple[Lessons, int]:
    """The lessons by new beliefs, and how many images are most likely of another class by them."""
    assert lessons.believed is not None and lessons.certain is not None
    row_of = {one: row for row, one in enumerate(again["id"])}
    rows = np.array([row_of.get(one, -1) for one in lessons.ids])
    open_ = (rows >= 0) & ~lessons.certain
    believed = lessons.believed.copy()
    flat = again["probabilities"].explode().to_numpy().astype(np.float64)
    believed[open_] = flat.reshape(len(again), -1)[rows[open_]]
    changed = int((believed.argmax(axis=1) != lessons.believed.argmax(axis=1)).sum())
    return lessons.learning(believed), changed
