"""What a student sees of pictures that it is shown once more when it is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import numpy as np

from pipeline.pixels import read_rgb
from pipeline.storage.address import Place
from pipeline.streams import ask_in_batches
from pipeline.student.predict import Student

_BATCH = 64


def features_of(student: Student, files: Sequence[Place], max_pixels: int) -> np.ndarray:
    """Return what the student sees of pictures, (n, features) float32, in their order.

    Raises:
        SourceError: a picture cannot be read.
    """

    def read(path: Place) -> np.ndarray:
        return student.prepare(read_rgb(path, max_pixels))

    with contextlib.closing(
        ask_in_batches(read, lambda part: student.see(part)[1], files, _BATCH, student.streams)
    ) as batches:
        seen = list(batches)
    return (
        np.concatenate(seen) if seen else np.zeros((0, student.last_layer[0].shape[1]), np.float32)
    )


def some(rows: np.ndarray, most: int) -> list[int]:
    """Return at most so many of the rows, evenly spread."""
    if len(rows) <= most:
        return rows.tolist()  # type: ignore[no-any-return]
    return rows[np.linspace(0, len(rows) - 1, most).astype(int)].tolist()  # type: ignore[no-any-return]
