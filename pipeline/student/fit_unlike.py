"""A student that was just trained is shown its pictures once more, to learn what is unlike them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from pipeline.errors import SourceError
from pipeline.pixels import read_rgb
from pipeline.storage.address import Place
from pipeline.student.lessons import Lessons
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
    valid = samples["valid"]
    held_out = [valid[row][0] for row in some(np.arange(len(valid)), _HELD_OUT)]
    others = [outside[row] for row in some(np.arange(len(outside)), _OUTSIDE)]
    return fit(
        features_of(student, [train[row][0] for row in rows], max_pixels),
        labels[rows],
        *student.last_layer,
        features_of(student, held_out, max_pixels),
        features_of(student, _readable(others, max_pixels), max_pixels),
    )


def _readable(files: Sequence[Place], max_pixels: int) -> list[Place]:
    found = []
    for path in files:
        with contextlib.suppress(SourceError):
            read_rgb(path, max_pixels)
            found.append(path)
    return found
