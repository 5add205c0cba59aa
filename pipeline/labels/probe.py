"""A second opinion on every label: what a linear classifier says that has not seen it."""

from __future__ import annotations

import numpy as np

from pipeline.labels.around import blocks, centre_of, some_rows

_FITTED = 20_000  # rows that it is fitted to, of all folds together
_FOLDS = 5
_RIDGE = 0.3  # of the mean variance of a direction


def probe(vectors: np.ndarray, labels: np.ndarray, classes: int, votes: np.ndarray) -> np.ndarray:
    """Return how far each row's label leads the best other class, (n,) float32 from -1 to 1.

    Ridge regression onto the labels, each row answered by a fit that has not seen it (the
    out-of-sample predictions of confident learning: Northcutt et al., 2021). It is fitted to at
    most 20,000 rows; memory does not grow with the rest.

    Args:
        vectors: unit vectors (n, dim); may be a memmap.
        labels: (n,) int, class indices.
        classes: how many there are.
        votes: (n,) weight of each row.
    """
    n = len(vectors)
    fold = np.random.default_rng(0).integers(0, _FOLDS, n)
    mean = centre_of(vectors)
    rows = some_rows(n, _FITTED)
    sums = []
    for number in range(_FOLDS):
        own = rows[fold[rows] == number]
        inputs = _inputs(vectors[own], mean) * np.sqrt(votes[own, None])
        targets = np.eye(classes, dtype=np.float32)[labels[own]] * np.sqrt(votes[own, None])
        sums.append((inputs.T @ inputs, inputs.T @ targets))
    gram, cross = sum(one for one, _ in sums), sum(two for _, two in sums)
    ridge = np.eye(len(gram)) * (_RIDGE * np.trace(gram) / len(gram) + 1e-9)
    fits = np.stack(
        [np.linalg.solve(gram - one + ridge, cross - two).astype(np.float32) for one, two in sums]
    )
    leads = np.empty(n, np.float32)
    for block in blocks(n):
        inputs = _inputs(vectors[block], mean)
        answers = np.empty((len(inputs), classes), np.float32)
        for number in range(_FOLDS):
            own = fold[block] == number
            answers[own] = inputs[own] @ fits[number]
        at = (np.arange(len(inputs)), labels[block])
        mine = answers[at]
        answers[at] = -np.inf
        leads[block] = np.clip(mine - answers.max(axis=1), -1, 1)
    return leads


def _inputs(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Rows without the mean, at length 1, and a column of ones for the constant of the fit."""
    rows = vectors.astype(np.float32) - mean
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return np.concatenate([rows, np.ones((len(rows), 1), np.float32)], axis=1)
