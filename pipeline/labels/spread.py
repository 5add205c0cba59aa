"""What was learned from a sample of a batch, brought to all of its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pipeline.labels.refine.batch import Batch, Notice
from pipeline.labels.refine.sample import room

_BLOCK = 16_384  # rows at a time

# What is said of further images: these as a batch, and their rows → one row for each.
Further = Callable[[Batch, np.ndarray], np.ndarray]


class Spread:
    """The images of a batch, those of its sample first.

    Args:
        batch: with or without a sample; without, what was learned is of all rows already.
        n: how many of its rows, the first, are asked about.
    """

    def __init__(self, batch: Batch, n: int) -> None:
        self._batch, self._n = batch, n
        sample = np.arange(len(batch.plain)) if batch.sample is None else batch.sample
        self._sample = sample
        self._inside = np.flatnonzero(sample < n)  # rows of the sample that are asked about
        self._rest = np.setdiff1d(np.arange(n), sample) if batch.sample is not None else sample[:0]

    def of(
        self, learned: np.ndarray, further: Further, again: Sequence[int] | np.ndarray = ()
    ) -> np.ndarray:
        """Return a row for each image that is asked about.

        Args:
            learned: of the sample, row by row.
            further: what is said of the others, block by block.
            again: rows of the sample that are to be treated as the others are.
        """
        if self._batch.sample is None:
            return learned[: self._n]
        wide = learned.ndim > 1
        found = room(self._n, learned.shape[1]) if wide else np.empty(self._n, learned.dtype)
        found[self._sample[self._inside]] = learned[self._inside]
        rest = np.union1d(self._rest, np.asarray(again, np.int64))
        for start in range(0, len(rest), _BLOCK):
            rows = rest[start : start + _BLOCK]
            found[rows] = further(self._batch.part(rows), rows)
        return found

    def named(self, notices: Sequence[Notice]) -> tuple[Notice, ...]:
        """Return notices about rows of the sample as such about rows of the batch."""
        if self._batch.sample is None:
            return tuple(notices)
        return tuple(replace(one, rows=self._sample[one.rows]) for one in notices)
