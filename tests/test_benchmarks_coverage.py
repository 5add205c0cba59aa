"""The benchmark of an audit's intervals, on labels that are made up."""

from __future__ import annotations

import numpy as np

from benchmarks.answers_coverage import METHODS, coverage


def test_intervals_hold_and_the_strata_make_them_narrower() -> None:
    rng = np.random.default_rng(0)
    doubts = rng.random(800)
    right = rng.random(800) > 0.8 * doubts**2
    found = {name: figures for name, *figures in coverage(right, doubts, 100, 200)}
    assert tuple(found) == METHODS
    holds, width, error = found["tuned"]
    assert 0.9 <= holds <= 1 and width < found["wilson"][1] and 0 < error < width / 2
