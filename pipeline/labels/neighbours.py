"""Which images of a batch look most like each other, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_AMONG = 6000  # rows that neighbours are looked for among; all of them where there are no more
_BLOCK = 2048  # rows looked at together
_SPREAD = 20_000  # rows that are enough for a mean


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of each row, itself left out."""

    rows: np.ndarray  # (n, k) int64, row numbers of the batch, nearest first
    cosines: np.ndarray  # (n, k) float32, after centring


def neighbours(vectors: np.ndarray, count: int = 10) -> Neighbours:
    """Return the nearest neighbours of every row, by cosine after the mean is taken off.

    Beyond 6,000 rows they are looked for among as many that are drawn evenly: what they have in
    common is as well known from them, and the time stays proportional to the rows.

    Args:
        vectors: unit vectors (n, dim), n at least 1, of any float type; may be a memmap.
        count: how many; fewer where there are not so many others.
    """
    n = len(vectors)
    mean = centre_of(vectors)
    among = some_rows(n, _AMONG)
    others = centred(vectors[among], mean)
    count = min(count, len(among) - 1)
    if count < 1:
        return Neighbours(np.empty((n, 0), np.int64), np.empty((n, 0), np.float32))
    rows = np.empty((n, count), np.int64)
    cosines = np.empty((n, count), np.float32)
    place = np.full(n, -1)
    place[among] = np.arange(len(among))
    for block in blocks(n):
        alike = centred(vectors[block], mean) @ others.T
        own = place[block]
        alike[np.flatnonzero(own >= 0), own[own >= 0]] = -2
        best = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        found = np.take_along_axis(alike, best, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        rows[block] = among[np.take_along_axis(best, order, axis=1)]
        cosines[block] = np.take_along_axis(found, order, axis=1)
    return Neighbours(rows, cosines)


def centre_of(vectors: np.ndarray) -> np.ndarray:
    """Return the mean (dim,) float32 of rows, of 20,000 where there are more."""
    mean: np.ndarray = vectors[some_rows(len(vectors), _SPREAD)].mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)


def centred(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return rows (n, dim) float32 without the mean, at length 1."""
    moved = rows.astype(np.float32) - mean
    moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-6)
    return moved


def some_rows(n: int, most: int) -> np.ndarray:
    """Return at most so many row numbers of n, drawn evenly and always alike, ascending."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False))


def blocks(n: int) -> Iterator[slice]:
    """Yield slices that cover n rows."""
    for start in range(0, n, _BLOCK):
        yield slice(start, min(start + _BLOCK, n))
