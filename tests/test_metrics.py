"""The figures, against values worked out elsewhere and against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import f1_score

from pipeline.evaluation.metrics import (
    accuracy,
    agreement,
    calibration_error,
    class_figures,
    confusion_matrix,
    macro_f1,
    mcnemar_p,
    proportion,
    reliability,
)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_interval_is_wilsons(n: int, share: float) -> None:
    successes = round(share * n)
    ours = proportion(successes, n)
    theirs = binomtest(successes, n).proportion_ci(0.95, "wilson")
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_a_share_of_nothing_does_not_exist() -> None:
    assert proportion(0, 0) is None
    assert accuracy([], []) is None
    assert macro_f1(np.zeros((3, 3), np.int64)) is None
    assert calibration_error([], []) is None


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="5 successes of 4"):
        proportion(5, 4)
    with pytest.raises(ValueError, match="cannot be paired"):
        agreement([1, 2], [1])
    with pytest.raises(ValueError, match="outside"):
        confusion_matrix([0, 3], [0, 1], 3)


answer_pairs = st.integers(2, 6).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1),
    )
)


@given(answer_pairs)
def test_confusion_and_f1_are_scikit_learns(case: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = case
    truth, guesses = map(np.array, zip(*pairs, strict=True))
    ours = confusion_matrix(truth, guesses, classes)
    assert (ours == sklearn_confusion(truth, guesses, labels=range(classes))).all()
    there = sorted(set(truth.tolist()))
    wanted = f1_score(truth, guesses, labels=there, average="macro", zero_division=0)
    assert macro_f1(ours) == pytest.approx(wanted)
    assert sum(one.support for one in class_figures(ours)) == len(pairs)


def test_class_that_never_occurs_has_no_recall() -> None:
    figures = class_figures(confusion_matrix([0, 0, 1], [0, 1, 1], 3))
    assert figures[0].recall == 0.5 and figures[0].precision == 1.0
    assert figures[2].recall is None and figures[2].precision is None and figures[2].f1 is None


def test_calibration_error_by_hand() -> None:
    # Two bins of two: sure 0.9 and right half the time, sure 0.6 and always right.
    assert calibration_error([0.9, 0.9, 0.6, 0.6], [1, 0, 1, 1], 10) == pytest.approx(0.4)
    bins = reliability([0.0, 1.0, 0.1], [1, 1, 0], 10)
    assert [one.n for one in bins] == [2] + [0] * 8 + [1]
    assert bins[1].accuracy is None


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    wanted = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar_p(first, second) == pytest.approx(wanted, rel=1e-6)
