"""What an answer would teach: how much of the doubt about other images it reaches.

Refinement learns from answers by a classifier that is linear in what is seen, with a Gaussian prior
(`pipeline.labels.refine.known`). So how far an answer reaches is a covariance, one answer more
changes it by a matrix of rank 1, and which answers they are is all the same: what is still open can
be reckoned before anybody has answered (V-optimality: Ji and Han, 2012).
"""

from __future__ import annotations

import numpy as np

from pipeline.labels.refine.known import FREE, unit

_CURVED = 0.15  # p (1 - p) of an answer nobody is sure of


class Reach:
    """What answers would teach about images (s,) of a batch.

    Args:
        seen: the images (s, dims), from `Eye.see`.
        answered: rows (m,) whose class is known.
    """

    def __init__(self, seen: np.ndarray, answered: np.ndarray) -> None:
        points = unit(seen)
        # Covariance of what may be added to the words of the images, in nats.
        self._open = FREE**2 * (points @ points.T).astype(np.float64)
        self._most = np.maximum(np.diag(self._open).copy(), 1e-9)
        if len(answered):
            told = self._open[np.ix_(answered, answered)] + np.eye(len(answered)) / _CURVED
            found = np.linalg.solve(told, self._open[answered])
            self._open -= self._open[:, answered] @ found

    def reached(self, doubted: np.ndarray) -> np.ndarray:
        """Return for each image (s,) the doubts (s,) that an answer to it would reach: of each
        other image's the share of its variance that the answer would explain."""
        found: np.ndarray = (doubted / self._most) @ self._open**2
        return found / (np.diag(self._open) + 1 / _CURVED)

    def learn(self, at: int) -> None:
        """Take one image for answered from now on, whatever the answer."""
        column = self._open[:, at].copy()
        self._open -= np.outer(column, column) / (column[at] + 1 / _CURVED)
