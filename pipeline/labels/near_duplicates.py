"""Finding pictures that look alike, without comparing each with each.

Up to some thousands of images every pair is compared. Beyond that, locality-sensitive hashing
proposes what to compare (random hyperplanes: Charikar, 2002): vectors at a small angle fall on the
same side of a random plane with probability 1 - angle / pi, so those that agree on a dozen planes
are neighbours with good odds, and several such tables miss hardly any. What is proposed is then
compared exactly, so no pair is found that is none.
"""

from __future__ import annotations

import itertools
import math
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

_EXACT = 16_384  # images up to which all pairs are compared
_BLOCK = 2048  # rows of a matrix product, exact
MISSED = 1e-3  # share of the pairs at the threshold that the tables together may miss
_TABLES = 64  # at most; low thresholds get larger buckets instead
_WINDOW = 256  # rows compared together, at least; small buckets share one
_LARGE = 1024  # rows of a chunk of a large bucket
_REACH = 4  # chunks that a chunk is compared with; beyond that, chains of links must do
_LET_GO = 5_000  # rows read of a memory map: Linux maps 16 pages around each that is touched
_LINKS = 32  # of one row within a block: enough to connect, too few to fill the memory


def near_duplicates(vectors: np.ndarray, threshold: float, missed: float = MISSED) -> np.ndarray:
    """Return index pairs (k, 2), i < j, of images whose cosine reaches the threshold.

    The mean vector is taken off first: the images of one camera share most of their direction, and
    without it all of them look alike (the "cone" of contrastive embeddings, Liang et al., 2022).

    Above 16,384 images a pair at the threshold is missed with the probability `missed`, closer ones
    less often, and of large groups only as many pairs are returned as hold them together.

    Args:
        vectors: unit vectors (n, dim), of any float type; of a memory map little stays in memory.
        threshold: cosine after centring, 0 to 1.
        missed: above 0, below 1; 0.05 takes less than half the time that 0.001 takes.
    """
    centred = _Centred(vectors)
    n = len(vectors)
    if n < 2:
        return np.empty((0, 2), np.int64)
    if n <= _EXACT:
        blocks = [np.arange(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK)]
        sides = itertools.combinations_with_replacement(blocks, 2)
        return np.concatenate([_pairs_between(centred, *both, threshold) for both in sides])
    bits, tables = _tables_for(n, threshold, missed)
    keys = _hash(centred, bits, tables)
    found = np.empty(0, np.int64)
    for table in range(tables):
        order = np.lexsort((keys[:, (table + 1) % tables], keys[:, table]))
        parts = [
            _pairs_between(centred, one, other, threshold, _LINKS)
            for one, other in _windows(order, keys[order, table])
        ]
        fresh = np.concatenate(parts)
        # Not np.unique: its hash table takes ten times as long on so many.
        found = np.sort(np.concatenate([found, fresh[:, 0] * n + fresh[:, 1]]))
        found = found[np.r_[True, found[1:] != found[:-1]]] if len(found) else found
    return np.stack([found // n, found % n], axis=1)


def resembling(
    vectors: np.ndarray, count: int, threshold: float, films: np.ndarray | None = None
) -> np.ndarray:
    """Say which of the first `count` rows look like any of the others, (count,) bool. Every pair is
    compared.

    Args:
        vectors: unit vectors (n, dim), of any float type.
        count: rows that are asked about.
        threshold: cosine after centring, 0 to 1, as for `near_duplicates`.
        films: see `closest`.
    """
    alike: np.ndarray = closest(vectors, count, films)[1] >= threshold
    return alike


def closest(
    vectors: np.ndarray, count: int, films: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of the first `count` rows which of the others it looks most like, (count,)
    int, and their cosine after centring, (count,) float32; -1 and minus infinity where there is
    none to compare. Every pair is compared.

    Args:
        vectors: unit vectors (n, dim), of any float type.
        count: rows that are asked about.
        films: number of each row's film (n,), below 0 for stills; frames of one film are not
            compared, since a fixed camera sees the same scene again and again.
    """
    centred = _Centred(vectors)
    nearest, cosine = np.full(count, -1), np.full(count, -np.inf, np.float32)
    for first in range(0, count, _BLOCK):
        rows = centred[slice(first, min(first + _BLOCK, count))]
        asked = np.arange(len(rows))
        for start in range(count, len(vectors), _EXACT):
            found = rows @ centred[slice(start, start + _EXACT)].T
            if films is not None:
                own = films[first : first + len(rows), np.newaxis]
                found[(own >= 0) & (own == films[start : start + _EXACT])] = -np.inf
            best = found.argmax(axis=1)
            value = found[asked, best]
            closer = np.flatnonzero(value > cosine[first : first + len(rows)])
            nearest[first + closer] = start + best[closer]
            cosine[first + closer] = value[closer]
    return nearest, cosine


class _Centred:
    """Rows of a matrix without its mean, at length 1, made when they are asked for."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors
        self._map: Any = getattr(vectors, "_mmap", None)
        self._read = 0
        self.dim = vectors.shape[1] if vectors.ndim == 2 else 0
        total = np.zeros(self.dim)
        for start in range(0, len(vectors), _EXACT):
            total += self._rows(slice(start, start + _EXACT)).sum(axis=0, dtype=np.float64)
        self._mean = (total / max(len(vectors), 1)).astype(np.float32)

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        centred: np.ndarray = self._rows(rows) - self._mean
        centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
        return centred

    def _rows(self, rows: np.ndarray | slice) -> np.ndarray:
        """Read rows as float32. What was read of a map counts as the process's memory until it is
        let go; the system still holds it where there is room."""
        found: np.ndarray = self._vectors[rows].astype(np.float32)
        self._read += len(found)
        if self._read > _LET_GO and hasattr(self._map, "madvise"):  # not on Windows
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return found


def _pairs_between(
    centred: _Centred,
    one: np.ndarray,
    other: np.ndarray,
    threshold: float,
    links: int | None = None,
) -> np.ndarray:
    """Compare the rows `one` with the rows `other`: the same object, or rows that share none."""
    left = centred[one]
    same = one is other
    alike = left @ (left if same else centred[other]).T >= threshold
    if same:
        alike = np.triu(alike, 1)
    if links is not None and alike.sum() > links * len(one):
        alike &= np.cumsum(alike, axis=1, dtype=np.int16) <= links
    rows, columns = np.nonzero(alike)
    first, second = one[rows], other[columns]
    return np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)


def _tables_for(n: int, threshold: float, missed: float) -> tuple[int, int]:
    """Return how many planes a table has, and how many tables: buckets of some 64 at random."""
    same_side = 1 - math.acos(min(threshold, 1 - 1e-6)) / math.pi
    bits = max(1, round(math.log2(n / 64)))
    while True:
        tables = math.ceil(math.log(missed) / math.log1p(-(same_side**bits)))
        if tables <= _TABLES or bits == 1:
            return bits, max(2, tables)
        bits -= 1


def _hash(centred: _Centred, bits: int, tables: int) -> np.ndarray:
    """Return each row's bucket in each table, (n, tables) uint32."""
    planes = np.random.default_rng(0).standard_normal((centred.dim, tables * bits), np.float32)
    weights = (1 << np.arange(bits)).astype(np.float32)
    keys = np.empty((len(centred), tables), np.uint32)
    for start in range(0, len(centred), _BLOCK):
        rows = slice(start, start + _BLOCK)
        sides = (centred[rows] @ planes > 0).reshape(-1, tables, bits)
        keys[rows] = sides.astype(np.float32) @ weights
    return keys


def _windows(order: np.ndarray, keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows to compare: small buckets together, large ones in chunks with their neighbours."""
    ends = np.r_[np.flatnonzero(keys[1:] != keys[:-1]) + 1, len(keys)]
    start = 0
    for end in ends.tolist():
        if end - start < _WINDOW and end < len(keys):
            continue
        chunks = [order[at : min(at + _LARGE, end)] for at in range(start, end, _LARGE)]
        for number, chunk in enumerate(chunks):
            for other in chunks[number : number + _REACH]:
                yield chunk, other
        start = end
