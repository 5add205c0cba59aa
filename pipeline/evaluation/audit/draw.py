"""A stratified random sample: who is asked about, so that few answers say much of all images.

Strata are formed by how likely a label is right, and each gives its share (Fogliato et al., "A
Framework for Efficient Model Evaluation through Stratification, Sampling, and Estimation",
arXiv 2406.07320). Pure numpy.
"""

from __future__ import annotations

import numpy as np

_EACH = 5  # answers that a stratum should get
_MOST = 100  # strata
LEAST = 2  # answers of a stratum


def strata(doubt: np.ndarray, answers: int) -> np.ndarray:
    """Return each image's stratum, (n,) int64 from 0: parts of equal size along the doubt.

    Parts that differ in how right they are make an estimate exact; more of them than these gain
    nothing. Each gets the same whole number of answers where that can be: shares that are rounded
    away from the strata's sizes cost width.

    Args:
        doubt: how likely a label is wrong, (n,); only the order counts.
        answers: how many will be asked for.
    """
    n = len(doubt)
    each = max(_EACH, -(-answers // _MOST))
    parts = max(1, min(answers // each, n // (2 * LEAST)))
    numbers = np.empty(n, np.int64)
    for number, rows in enumerate(np.array_split(np.argsort(doubt, kind="stable"), parts)):
        numbers[rows] = number
    return numbers


def allocation(sizes: np.ndarray, answers: int) -> np.ndarray:
    """Return how many to draw of each stratum, int64: by its share, at least two where there are.

    Args:
        sizes: images of each stratum.
        answers: of all strata together; of fewer images, all are drawn.
    """
    least = np.minimum(sizes, LEAST)
    answers = min(int(sizes.sum()), max(answers, int(least.sum())))
    exact = answers * sizes / max(1, sizes.sum())
    drawn: np.ndarray = np.clip(np.floor(exact).astype(np.int64), least, sizes)
    # What rounding has left over goes where most is missing, and what was too much comes from where
    # most is above the share.
    while (left := answers - int(drawn.sum())) != 0:
        step = 1 if left > 0 else -1
        free = drawn < sizes if left > 0 else drawn > least
        gap = np.where(free, step * (exact - drawn), -np.inf)
        drawn[int(gap.argmax())] += step
    return drawn
