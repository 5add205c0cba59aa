"""Which images of a large batch are read together, their vectors, and room for the results."""

from __future__ import annotations

import tempfile

import numpy as np

from pipeline.errors import TeacherError
from pipeline.labels.refine.batch import Batch, Space

_MOST = 12_000  # images that are compared each with each
_ENOUGH = 6_000  # of more images, that stand for all
_A_CLASS = 12  # of them, at least, for each of many classes
_KNOWN = 4_000  # of them, at most, whose class a person gave
_IN_MEMORY = 256 << 20  # bytes
_BLOCK = 65_536


def sample_rows(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of the batch (s,), sorted, and what each of them counts (s,) float32, 1 on
    average: all of a small batch, of a large one some thousands.

    Classes that the words seldom name are not lost: half of the sample is shared out alike among
    the classes, half among the images, and votes make up for it. What people have decided is in it.
    """
    n, classes = batch.plain.shape
    if n <= _MOST:
        return np.arange(n), _relative(batch.votes)
    rng = np.random.default_rng(0)
    guesses = np.concatenate(
        [batch.spoken[start : start + _BLOCK].argmax(axis=1) for start in range(0, n, _BLOCK)]
    )
    known = rng.permutation(np.flatnonzero(batch.known >= 0))[:_KNOWN]
    counts = np.bincount(guesses, minlength=classes)
    half = min(max(_ENOUGH, _A_CLASS * classes), _MOST) // 2
    wanted = np.minimum(counts, half // classes + counts * half // n)
    order = rng.permutation(n)
    order = order[np.argsort(guesses[order], kind="stable")]
    rank = np.arange(n) - (np.cumsum(counts) - counts)[guesses[order]]
    rows = np.union1d(order[rank < wanted[guesses[order]]], known)
    stands_for = counts / np.maximum(np.bincount(guesses[rows], minlength=classes), 1)
    return rows, _relative(batch.votes[rows] * stands_for[guesses[rows]])


def _relative(votes: np.ndarray) -> np.ndarray:
    relative = np.maximum(votes / votes.mean(dtype=np.float64), np.finfo(np.float32).tiny)
    scaled: np.ndarray = relative.astype(np.float32)
    return scaled


def vectors_of(space: Space, rows: np.ndarray | slice) -> np.ndarray:
    """Return a space's vectors (m, dim) float32 of some rows of the batch.

    Raises:
        TeacherError: some of them are not numbers.
    """
    vectors = np.asarray(space.vectors[rows], np.float32)
    if wrong := int((~np.isfinite(vectors).all(axis=1)).sum()):
        raise TeacherError(
            f"{space.name} gives vectors that are not numbers for {wrong:,} of {len(vectors):,} "
            "images, so images cannot be compared by it. Choose another model, or set "
            "`precision: fp32`."
        )
    return vectors


def room(rows: int, columns: int, kind: type[np.float32 | np.int32] = np.float32) -> np.ndarray:
    """Return an array to be filled: on disk where it is large, in a file without a name that goes
    when nobody holds it any more."""
    size = rows * columns * 4
    if size <= _IN_MEMORY:
        return np.empty((rows, columns), kind)
    with tempfile.TemporaryFile(prefix="clip2yolo-") as file:
        file.truncate(size)
        return np.memmap(file, kind, "r+", shape=(rows, columns))
