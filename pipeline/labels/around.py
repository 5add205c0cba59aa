"""What surrounds each image of a batch in a space, in memory that does not grow with the space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipeline.labels.refine.batch import Batch
from pipeline.labels.refine.neighbours import Eye, Sight, neighbours
from pipeline.labels.refine.sample import room

if TYPE_CHECKING:
    from scipy import sparse

_AMONG = 6000  # rows that neighbours are looked for among; all of them where there are no more
_BLOCK = 8192  # rows looked at together
_SPREAD = 20_000  # rows that are enough for a mean


@dataclass(frozen=True)
class Around:
    """The neighbours of every image in one space."""

    rows: np.ndarray  # (s,) rows of the batch that may be neighbours
    links: sparse.csr_array  # (n, s) weights, each row summing to 1
    eye: Eye
    seen: np.ndarray  # (s, dims): the possible neighbours, as the eye sees them
    votes: np.ndarray  # (s,)

    def further(self, vectors: np.ndarray) -> Around:
        """Return the neighbours, among the same, of images (m, dim) that are none of the batch."""
        return replace(self, links=neighbours(self.eye.see([vectors]), self.seen, self.votes))

    def part(self, rows: slice) -> Around:
        """Return the neighbours of some of the images."""
        return replace(self, links=self.links[rows])

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the neighbours' mean (n, …) of values of the batch."""
        found: np.ndarray = self.links @ values[self.rows]
        return found

    def support(self, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the mean probability (n,) that the neighbours give to each image's label.

        Args:
            probabilities: of the batch, (rows, classes).
            labels: (n,) int.
        """
        theirs = probabilities[self.rows]
        found = np.empty(len(labels))
        for part in blocks(len(labels)):
            given = self.links[part] @ theirs
            found[part] = given[np.arange(len(given)), labels[part]]
        return found


class Surroundings:
    """The neighbours of images in each space of a batch, found once for all who ask.

    Args:
        batch: the images that are learned from.
        total: rows of the batch that these are a sample of, which may be asked about, too; 0: none.
    """

    def __init__(self, batch: Batch, total: int = 0) -> None:
        self._batch, self._total = batch, total
        self._done = np.zeros(total, bool)
        self._held: list[tuple[np.ndarray, np.ndarray]] = []  # of each space: columns and weights

    @cached_property
    def own(self) -> list[Around]:
        """Of the batch, at least two images, in each space."""
        return [around(space.vectors, self._batch.votes) for space in self._batch.spaces]

    def further(self, batch: Batch, rows: np.ndarray) -> list[Around]:
        """Return the neighbours, among the images learned from, of others in each space.

        Args:
            batch: these, in the same spaces.
            rows: (m,) int, what they are of all; those that were asked about before are remembered.
        """
        from scipy import sparse  # slow to import

        new = np.flatnonzero(~self._done[rows])
        for number, (near, space) in enumerate(zip(self.own, batch.spaces, strict=True)):
            for part in blocks(len(new)):
                links = near.further(space.vectors[new[part]]).links
                if number == len(self._held):
                    most = links.indptr[1]
                    held = room(self._total, most, np.int32), room(self._total, most)
                    self._held.append(held)
                columns, weights = self._held[number]
                columns[rows[new[part]]] = links.indices.reshape(len(links.indptr) - 1, -1)
                weights[rows[new[part]]] = links.data.reshape(len(links.indptr) - 1, -1)
        self._done[rows] = True
        found = []
        for near, (columns, weights) in zip(self.own, self._held, strict=True):
            starts = np.arange(0, len(rows) * columns.shape[1] + 1, columns.shape[1])
            cells = (weights[rows].ravel(), columns[rows].ravel(), starts)
            links = sparse.csr_array(cells, shape=(len(rows), len(near.rows)))
            found.append(replace(near, links=links))
        return found


def around(vectors: np.ndarray, votes: np.ndarray) -> Around:
    """Find every image's neighbours; itself is none.

    Beyond 6,000 images they are looked for among as many that are drawn evenly: what neighbours
    have in common is as well known from them, and the time stays proportional to the images.

    Args:
        vectors: unit vectors (n, dim), n at least 2; may be a memmap.
        votes: (n,) weight of each image.
    """
    from scipy import sparse  # slow to import

    n = len(vectors)
    rows = some_rows(n, _AMONG)
    eye = Eye((Sight.of(vectors[rows], votes[rows]),), (1.0,))
    sample = eye.see([vectors[rows]])
    own = np.full(n, -1)
    own[rows] = np.arange(len(rows))
    parts = [
        neighbours(eye.see([vectors[part]]), sample, votes[rows], own[part]) for part in blocks(n)
    ]
    return Around(rows, sparse.csr_array(sparse.vstack(parts)), eye, sample, votes[rows])


def centre_of(vectors: np.ndarray) -> np.ndarray:
    """Return the mean (dim,) float32 of rows, of 20,000 where there are more."""
    mean: np.ndarray = vectors[some_rows(len(vectors), _SPREAD)].mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)


def some_rows(n: int, most: int) -> np.ndarray:
    """Return at most so many row numbers of n, drawn evenly and always alike, ascending."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False))


def blocks(n: int) -> Iterator[slice]:
    """Yield slices that cover n rows."""
    for start in range(0, n, _BLOCK):
        yield slice(start, min(start + _BLOCK, n))
