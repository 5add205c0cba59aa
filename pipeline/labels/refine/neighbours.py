"""Who looks like whom: neighbours within a sample of the batch, over one or several spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

_BLOCK = 1024  # rows compared at a time
_MOST = 10  # neighbours of an image
_FEW = 8  # images to one neighbour: in a small batch the tenth neighbour is anything
_REACH = 1.0  # by which a likeness must be less to count 1/e, in spreads of all likenesses
_LEAST = 1e-3  # spread of likenesses that are told apart
_GROUP = 4  # columns of a group, below which groups spare nothing
_SAME = 1e-5  # length, beside the vectors' own, below which a centred vector is rounding error


@dataclass(frozen=True)
class Sight:
    """A space as it is compared in: without its mean direction, which all images share and which
    would make them all alike (the cone of contrastive embeddings: Liang et al., 2022)."""

    centre: np.ndarray  # (dim,)
    spread: float  # standard deviation of the likenesses of two images; 0: all look the same

    @classmethod
    def of(cls, vectors: np.ndarray, votes: np.ndarray) -> Sight:
        """Learn a space from some of its vectors (m, dim), whatever their order."""
        vectors = np.asarray(vectors, np.float32)
        weights = votes.astype(np.float64) / votes.sum(dtype=np.float64)
        centre = weights.astype(np.float32) @ vectors
        unit = _unit(vectors - centre)
        return cls(centre, max(_spread(unit), _LEAST) if unit.any() else 0.0)

    def see(self, vectors: np.ndarray) -> np.ndarray:
        """Return vectors (m, dim) as they are compared: centred, length 1, float32. One that lies
        at the centre is like no other: it has length 0."""
        return _unit(np.asarray(vectors, np.float32) - self.centre)


@dataclass(frozen=True)
class Eye:
    """Several spaces looked at together, each with its weight; the weights sum to 1."""

    sights: tuple[Sight, ...]
    weights: tuple[float, ...]

    def see(self, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """Return (m, dims) float32 whose products are the weighted likenesses, in spreads."""
        scaled = [
            sight.see(part) * np.float32(np.sqrt(weight / max(sight.spread, _LEAST)))
            for sight, weight, part in zip(self.sights, self.weights, vectors, strict=True)
            if weight > 0
        ]
        return np.concatenate(scaled, axis=1)

    def alone(self, number: int) -> Eye:
        """Return the eye that sees one of the spaces only."""
        weights = tuple(float(other == number) for other in range(len(self.sights)))
        return replace(self, weights=weights)


def neighbours(
    seen: np.ndarray, sample: np.ndarray, votes: np.ndarray, own: np.ndarray | None = None
) -> sparse.csr_array:
    """Return the weights (m, s) of each image's neighbours in the sample, each row summing to 1.

    Weights fall with the likeness, counted from the most alike, so that an image without images
    like it is not told what it is by a crowd of others; and look-alikes share a vote.

    Args:
        seen: images (m, dims), from `Eye.see`.
        sample: those to choose from (s, dims).
        votes: of the sample (s,), above 0.
        own: the row of the sample that each image is itself, (m,) int, -1 where it is none; an
            image is no neighbour of its own, unless it is the whole sample.
    """
    from scipy import sparse  # slow to import, and most commands compare nothing

    size = len(sample)
    most = int(np.clip(size // _FEW, 1, _MOST))
    most = min(most, max(size - 1, 1))
    loudness = np.log(votes.astype(np.float64)).astype(np.float32)
    columns = np.empty((len(seen), most), np.int32)
    weights = np.empty((len(seen), most), np.float32)
    for start in range(0, len(seen), _BLOCK):
        rows = slice(start, start + _BLOCK)
        alike = seen[rows] @ sample.T
        if own is not None and size > 1:
            inside = np.flatnonzero(own[rows] >= 0)
            alike[inside, own[rows][inside]] = -np.inf
        near = _largest(alike, most)
        strength = np.take_along_axis(alike, near, axis=1) / _REACH + loudness[near]
        strength = np.exp(strength - strength.max(axis=1, keepdims=True))
        columns[rows] = near
        weights[rows] = strength / strength.sum(axis=1, keepdims=True)
    starts = np.arange(0, columns.size + 1, most)
    shape = (len(seen), size)
    return sparse.csr_array((weights.ravel(), columns.ravel(), starts), shape=shape)


def _largest(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the columns (m, count) of the largest values of rows (m, s), in no order.

    The largest lie in the groups of columns whose own largest are largest. So only these groups are
    searched, and the rest is looked through as fast as it can be read: in 6,000 columns for ten, a
    tenth of the time that a search of all of them takes.
    """
    m, size = rows.shape
    each = max(1, int(np.sqrt(size / count)))  # columns of a group
    groups = size // each
    if each < _GROUP:
        return np.argpartition(rows, -count, axis=1)[:, -count:]
    # A group is one column in every so many, so that whole runs of columns are compared at once.
    best = rows[:, : each * groups].reshape(m, each, groups).max(axis=1)
    chosen = np.argpartition(best, -count, axis=1)[:, -count:]
    columns = (chosen[:, :, None] + np.arange(each) * groups).reshape(m, -1)
    left = np.broadcast_to(np.arange(each * groups, size), (m, size - each * groups))
    columns = np.concatenate([columns, left], axis=1)
    found = np.argpartition(np.take_along_axis(rows, columns, axis=1), -count, axis=1)
    return np.take_along_axis(columns, found[:, -count:], axis=1)


def _spread(unit: np.ndarray) -> float:
    """The standard deviation of the likenesses of any two of m rows of length 1 (or 0), from their
    moments, in memory that does not grow with the pairs."""
    count = len(unit)
    pairs = count * (count - 1)
    own = (unit.astype(np.float64) ** 2).sum(axis=1)
    if pairs == 0:
        return 0.0
    total = float((unit.sum(axis=0, dtype=np.float64) ** 2).sum() - own.sum())
    squares = float(((unit.T @ unit).astype(np.float64) ** 2).sum() - (own**2).sum())
    return float(np.sqrt(max(squares / pairs - (total / pairs) ** 2, 0.0)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: np.ndarray = np.where(lengths > _SAME, vectors / np.maximum(lengths, _SAME), 0)
    return scaled
