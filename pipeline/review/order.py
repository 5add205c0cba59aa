"""Which images come next, and in which order: rows of an album."""

from __future__ import annotations

import numpy as np

from pipeline.errors import Clip2YoloError
from pipeline.review.album import Album, Wanted

_BLOCK = 20_000  # vectors compared at a time
_MANY = 4000  # images of a class among which alike ones are looked for


def screenful(album: Album, wanted: Wanted, size: int) -> np.ndarray:
    """Return the most doubtful open image that is wanted, and those that are called the same and
    look most like it, alike beside alike."""
    rows = album.rows(wanted)
    if not len(rows):
        return rows
    seed = int(rows[album.doubt[rows].argmax()])
    some: np.ndarray = rows[album.guess[rows] == album.guess[seed]]
    if len(some) > _MANY:  # the most doubtful of them
        some = np.union1d(some[np.argpartition(-album.doubt[some], _MANY)[:_MANY]], [seed])
    try:
        known = _apart(album.vectors_at(some))
        order = np.argsort(-(known @ known[int(np.searchsorted(some, seed))]), kind="stable")
    except Clip2YoloError:  # without vectors, by doubt alone
        order = np.argsort(-album.doubt[some], kind="stable")
    return some[order[:size]]


def most_doubtful(
    album: Album, wanted: Wanted, closed: bool | None, start: int, size: int
) -> np.ndarray:
    """Return a page of all that is wanted, the most doubtful first.

    Args:
        album: of which images.
        wanted: which of them.
        closed: True: what was answered; False: what is open; None: both.
        start: number of the first.
        size: of a page.
    """
    rows = album.rows(wanted, closed)
    page: np.ndarray = rows[_largest(album.doubt[rows], start, size)]
    return page


def most_alike(
    album: Album, wanted: Wanted, closed: bool | None, vector: np.ndarray, start: int, size: int
) -> np.ndarray:
    """Return a page of all that is wanted, the most alike to a unit vector (dim,) first; the other
    arguments are those of `most_doubtful`.

    Raises:
        Clip2YoloError: vectors are not there.
    """
    rows = album.rows(wanted, closed)
    alike = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), _BLOCK):
        some = rows[first : first + _BLOCK]
        alike[first : first + _BLOCK] = album.vectors_at(some) @ vector
    page: np.ndarray = rows[_largest(alike, start, size)]
    return page


def _largest(values: np.ndarray, start: int, size: int) -> np.ndarray:
    """Where a page of values is, the largest first, of equal ones the earlier."""
    end = start + size
    if end >= len(values):
        return np.argsort(-values, kind="stable")[start:]
    # Of equal values at the border, all: which of them are on the page, their order decides.
    least = np.partition(values, len(values) - end)[len(values) - end]
    some = np.flatnonzero(values >= least)
    found: np.ndarray = some[np.argsort(-values[some], kind="stable")[start:end]]
    return found


def _apart(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors (n, dim) without the direction that all of them share, which tells nothing of
    what is alike (Liang et al., 2022); as they are where nothing else is left of them."""
    rest = vectors - vectors.mean(axis=0)
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    return vectors if (length < 1e-6).any() else rest / length
