"""A second opinion on every label: what a linear classifier says that has not seen it."""

from __future__ import annotations

import numpy as np

from pipeline.labels.around import blocks, centre_of, some_rows

_FITTED = 20_000  # rows that it is fitted to, of all folds together
_FOLDS = 5
_RIDGE = 0.3  # of the mean variance of a direction


class Probe:
    """How far each row's label leads the best other class, from -1 to 1.

    Ridge regression onto the labels, each row answered by a fit that has not seen it (the
    out-of-sample predictions of confident learning: Northcutt et al., 2021). It is fitted to at
    most 20,000 rows; memory does not grow with the rest.

    Args:
        vectors: unit vectors (n, dim); may be a memmap.
        labels: (n,) int, class indices.
        classes: how many there are.
        votes: (n,) weight of each row.
    """

    def __init__(
        self, vectors: np.ndarray, labels: np.ndarray, classes: int, votes: np.ndarray
    ) -> None:
        n = len(vectors)
        fold = np.random.default_rng(0).integers(0, _FOLDS, n)
        self._mean = centre_of(vectors)
        rows = some_rows(n, _FITTED)
        sums = []
        for number in range(_FOLDS):
            own = rows[fold[rows] == number]
            inputs = _inputs(vectors[own], self._mean) * np.sqrt(votes[own, None])
            targets = np.eye(classes, dtype=np.float32)[labels[own]] * np.sqrt(votes[own, None])
            sums.append((inputs.T @ inputs, inputs.T @ targets))
        gram, cross = sum(one for one, _ in sums), sum(two for _, two in sums)
        ridge = np.eye(len(gram)) * (_RIDGE * np.trace(gram) / len(gram) + 1e-9)
        self._fits = np.stack(
            [np.linalg.solve(gram - g + ridge, cross - c).astype(np.float32) for g, c in sums]
        )
        self._whole = np.linalg.solve(gram + ridge, cross).astype(np.float32)
        self.leads = np.empty(n, np.float32)  # of the rows it was fitted to
        for block in blocks(n):
            inputs = _inputs(vectors[block], self._mean)
            answers = np.empty((len(inputs), classes), np.float32)
            for number in range(_FOLDS):
                own = fold[block] == number
                answers[own] = inputs[own] @ self._fits[number]
            self.leads[block] = _leads(answers, labels[block])

    def further(self, vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the same, (m,) float32, of vectors (m, dim) that no fit has seen."""
        return _leads(_inputs(vectors, self._mean) @ self._whole, labels)


def _leads(answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    at = (np.arange(len(answers)), labels)
    mine = answers[at]
    answers[at] = -np.inf
    leads: np.ndarray = np.clip(mine - answers.max(axis=1), -1, 1)
    return leads


def probe(vectors: np.ndarray, labels: np.ndarray, classes: int, votes: np.ndarray) -> np.ndarray:
    """Return how far each row's label leads the best other class, (n,) float32 from -1 to 1: see
    `Probe`."""
    return Probe(vectors, labels, classes, votes).leads


def _inputs(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Rows without the mean, at length 1, and a column of ones for the constant of the fit."""
    rows = vectors.astype(np.float32) - mean
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return np.concatenate([rows, np.ones((len(rows), 1), np.float32)], axis=1)
