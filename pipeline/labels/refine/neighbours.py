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
_PAIRS = 2000  # rows whose likenesses show how these spread


@dataclass(frozen=True)
class Sight:
    """A space as it is compared in: without its mean direction, which all images share and which
    would make them all alike (the cone of contrastive embeddings: Liang et al., 2022)."""

    centre: np.ndarray  # (dim,)
    spread: float  # standard deviation of the likenesses of two images

    @classmethod
    def of(cls, vectors: np.ndarray, votes: np.ndarray) -> Sight:
        """Learn a space from some of its vectors (m, dim)."""
        centre = np.average(vectors.astype(np.float32), axis=0, weights=votes).astype(np.float32)
        step = max(1, len(vectors) // _PAIRS)
        some = _unit(vectors[::step].astype(np.float32) - centre)
        likenesses = (some @ some.T)[~np.eye(len(some), dtype=bool)]
        spread = float(likenesses.std()) if likenesses.size else 1.0
        return cls(centre, max(spread, 1e-6))

    def see(self, vectors: np.ndarray) -> np.ndarray:
        """Return vectors (m, dim) as they are compared: centred, length 1, float32."""
        return _unit(np.asarray(vectors, np.float32) - self.centre)


@dataclass(frozen=True)
class Eye:
    """Several spaces looked at together, each with its weight; the weights sum to 1."""

    sights: tuple[Sight, ...]
    weights: tuple[float, ...]

    def see(self, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """Return (m, dims) float32 whose products are the weighted likenesses, in spreads."""
        scaled = [
            sight.see(part) * np.float32(np.sqrt(weight / sight.spread))
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
        votes: of the sample (s,).
        own: the row of the sample that each image is itself, (m,) int, -1 where it is none; an
            image is no neighbour of its own.
    """
    from scipy import sparse  # slow to import, and most commands compare nothing

    size = len(sample)
    most = int(np.clip(size // _FEW, 1, _MOST))
    most = min(most, max(size - 1, 1))
    columns = np.empty((len(seen), most), np.int32)
    weights = np.empty((len(seen), most), np.float32)
    for start in range(0, len(seen), _BLOCK):
        rows = slice(start, start + _BLOCK)
        alike = seen[rows] @ sample.T
        if own is not None:
            inside = np.flatnonzero(own[rows] >= 0)
            alike[inside, own[rows][inside]] = -np.inf
        near = np.argpartition(alike, -most, axis=1)[:, -most:]
        likeness = np.take_along_axis(alike, near, axis=1)
        best = likeness.max(axis=1, keepdims=True)
        strength = np.exp((likeness - best) / _REACH) * votes[near]
        strength[~np.isfinite(likeness)] = 0
        columns[rows] = near
        weights[rows] = strength / np.maximum(strength.sum(axis=1, keepdims=True), 1e-12)
    starts = np.arange(0, columns.size + 1, most)
    shape = (len(seen), size)
    return sparse.csr_array((weights.ravel(), columns.ravel(), starts), shape=shape)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    scaled: np.ndarray = vectors / lengths
    return scaled
