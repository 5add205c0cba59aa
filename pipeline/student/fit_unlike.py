"""A student that was just trained is shown its pictures once more, to learn what is unlike them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from pipeline.errors import SourceError
from pipeline.pixels import read_rgb
from pipeline.storage.address import Place
from pipeline.student.lessons import Lessons
from pipeline.student.precision import ALIKE
from pipeline.student.predict import Student
from pipeline.student.shown import features_of, some
from pipeline.student.unlike import Unlike, fit

_EACH = 100  # pictures of a class: their mean direction moves little beyond
_HELD_OUT = 5000  # pictures that say how far off those of the classes lie
_OUTSIDE = 2000  # pictures of no class


def fit_unlike(
    student: Student, lessons: Lessons, outside: Sequence[Place], max_pixels: int
) -> Unlike:
    """Return what a student knows of pictures like those that it was taught.

    Pictures of train say in which direction each class lies, those of valid how far off such
    pictures lie that it was not trained on. Where there are many, some of each are asked.

    Args:
        student: that was trained on train and on nothing of valid.
        lessons: the images of both; what has no label in train says nothing here.
        outside: pictures of no class. Of those that cannot be read any more nothing is learned.
        max_pixels: larger pictures are refused.

    Raises:
        SourceError: a picture of train or valid cannot be read.
    """
    samples = lessons.samples
    train = samples["train"][: len(samples["train"]) - lessons.undecided]
    labels = np.array([index for _, index in train])
    rows = [
        row
        for index in range(len(student.classes))
        for row in some(np.flatnonzero(labels == index), _EACH)
    ]
    others = [outside[row] for row in some(np.arange(len(outside)), _OUTSIDE)]
    return fit(
        features_of(student, [train[row][0] for row in rows], max_pixels),
        labels[rows],
        *student.last_layer,
        features_of(student, _held_out(lessons), max_pixels),
        features_of(student, _readable(others, max_pixels), max_pixels),
    )


def fit_in_bf16(
    known: Unlike, exact: Student, lowered: Student, lessons: Lessons, max_pixels: int
) -> Unlike | None:
    """Return the same for a student in bf16, which sees rounded features; None where it is not
    known to answer `ALIKE` of the pictures of valid as in fp32.

    Args:
        known: what `fit_unlike` has returned.
        exact: the student in fp32.
        lowered: the same in bf16.
        lessons: as for `fit_unlike`.
        max_pixels: larger pictures are refused.

    Raises:
        SourceError: a picture of valid cannot be read.
    """
    held_out = _held_out(lessons)
    seen = [features_of(one, held_out, max_pixels) for one in (exact, lowered)]
    weights, bias = exact.last_layer
    answers = [(features @ weights.T + bias).argmax(axis=1) for features in seen]
    alike = np.mean(answers[0] == answers[1]) if held_out else 0.0
    return known.settled(seen[1]) if alike >= ALIKE else None


def _held_out(lessons: Lessons) -> list[Place]:
    valid = lessons.samples["valid"]
    return [valid[row][0] for row in some(np.arange(len(valid)), _HELD_OUT)]


def _readable(files: Sequence[Place], max_pixels: int) -> list[Place]:
    found = []
    for path in files:
        with contextlib.suppress(SourceError):
            read_rgb(path, max_pixels)
            found.append(path)
    return found
