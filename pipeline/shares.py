"""Shares of cases: their intervals, and two of them compared on the same cases.

Pure functions on counts; nothing here knows what was counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z95 = 1.959963984540054  # the standard normal's 97.5 % quantile


@dataclass(frozen=True)
class Proportion:
    """A share of `n` cases with its 95 % confidence interval; all between 0 and 1."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """One share minus another, with its 95 % interval."""

    value: float
    low: float
    high: float


def proportion(successes: int, n: int) -> Proportion | None:
    """Return successes/n with Wilson's 95 % score interval (Wilson, 1927); None for n = 0.

    The interval keeps its coverage near 0 and 1 and for small n, where the usual ± interval
    collapses to a point or leaves [0, 1] (Brown, Cai and DasGupta, 2001).
    """
    if n == 0:
        return None
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    share = successes / n
    scale = 1 + _Z95**2 / n
    center = (share + _Z95**2 / (2 * n)) / scale
    half = _Z95 / scale * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n**2))
    # At the ends the bound is exactly 0 or 1; rounding must not say otherwise.
    low = 0.0 if successes == 0 else max(0.0, center - half)
    high = 1.0 if successes == n else min(1.0, center + half)
    return Proportion(share, low, high, n)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar, 1947).

    Of the cases that exactly one of two predictors gets right, each is as likely the first's as the
    second's if both are equally good. Whole numbers throughout, so that no case is too rare.

    Args:
        only_first: cases that only the first predictor got right.
        only_second: cases that only the second got right.
    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    term = tail = 1  # n choose 0
    for k in range(fewer):
        term = term * (n - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / 2**n) if n else 1.0


def paired_difference(both: int, only_first: int, only_second: int, neither: int) -> Difference:
    """Return how much more often the first of two is right on the same cases, with the interval of
    Newcombe (1998, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", method 10): honest also where few differ, or none.

    Args:
        both: cases that both got right; at least one case there must be.
        only_first: that only the first got right.
        only_second: likewise.
        neither: that none got right.
    """
    n = both + only_first + only_second + neither
    first, second = proportion(both + only_first, n), proportion(both + only_second, n)
    if first is None or second is None:
        raise ValueError("no cases to compare on")
    product = (both + only_first) * (only_second + neither)
    product *= (both + only_second) * (only_first + neither)
    together = float(both * neither - only_first * only_second)
    if together > 0:
        together = max(together - n / 2, 0.0)
    alike = together / math.sqrt(product) if product else 0.0
    value = (only_first - only_second) / n

    def width(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * alike * one * other + other**2, 0))

    low = value - width(first.value - first.low, second.high - second.value)
    high = value + width(first.high - first.value, second.value - second.low)
    return Difference(value, max(low, -1.0), min(high, 1.0))
