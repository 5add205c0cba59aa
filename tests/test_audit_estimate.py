"""The arithmetic of an audit: who is drawn, and what the answers say of all images."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.audit.draw import allocation, strata
from pipeline.evaluation.audit.estimate import Estimates, estimate
from pipeline.evaluation.metrics import Proportion, proportion

METHODS = ("stratified", "difference", "tuned")


def pool(n: int, seed: int = 0, hint: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Doubts of `n` labels, and which of them are right: the doubt tells it by so much."""
    rng = np.random.default_rng(seed)
    doubt = rng.beta(1, 3, n)
    chance = 1 / (1 + np.exp(-(2 - hint * 2 * (doubt - doubt.mean()) / doubt.std() / 2)))
    return doubt, rng.random(n) < chance


def drawn(numbers: np.ndarray, answers: int, rng: np.random.Generator) -> np.ndarray:
    many = allocation(np.bincount(numbers), answers)
    return np.concatenate(
        [rng.choice(np.flatnonzero(numbers == h), k, replace=False) for h, k in enumerate(many)]
    )


def test_strata_are_parts_of_equal_size_along_the_doubt() -> None:
    doubt = np.random.default_rng(0).random(1003)
    numbers = strata(doubt, 100)
    assert set(np.bincount(numbers)) == {50, 51}
    tops = [doubt[numbers == h].max() for h in range(20)]
    assert tops == sorted(tops)
    assert strata(doubt, 5).max() == 0 and strata(doubt[:7], 100).max() == 0
    assert strata(doubt, 10_000).max() == 99


@pytest.mark.parametrize("answers", [50, 100, 300, 1000])
def test_each_stratum_gives_as_many_as_the_others(answers: int) -> None:
    numbers = strata(np.random.default_rng(0).random(5003), answers)
    assert len(set(allocation(np.bincount(numbers), answers))) == 1


@pytest.mark.parametrize("answers", [1, 7, 50, 333, 5000])
def test_each_stratum_gives_its_share_and_at_least_two(answers: int) -> None:
    sizes = np.array([400, 10, 1, 89, 500])
    many = allocation(sizes, answers)
    assert many.sum() == min(1000, max(answers, 9)) and (many <= sizes).all()
    assert (many >= np.minimum(sizes, 2)).all()
    if answers == 333:
        assert np.abs(many - sizes * 0.333).max() <= 2


def test_one_stratum_without_any_hint_is_wilsons_own() -> None:
    right = np.arange(100) % 5 > 0
    found = estimate(np.zeros(10**6, int), np.full(10**6, 0.8), np.arange(100), right)
    wilson = proportion(80, 100)
    assert wilson is not None and found.wilson == wilson
    for name in METHODS:
        one = getattr(found, name)
        assert one.value == pytest.approx(0.8)
        assert one.low == pytest.approx(wilson.low, abs=2e-3)
        assert one.high == pytest.approx(wilson.high, abs=2e-3)


@pytest.mark.parametrize("right", [True, False])
def test_where_all_answers_agree_the_interval_keeps_its_width(right: bool) -> None:
    doubt, _ = pool(1000)
    numbers = strata(doubt, 50)
    rows = drawn(numbers, 50, np.random.default_rng(1))
    found = estimate(numbers, 1 - doubt, rows, np.full(50, right))
    assert found.stratified.value == float(right) and found.weight == 0
    for name in METHODS:
        one = getattr(found, name)
        assert 0.02 < one.high - one.low < 0.12
        assert (one.high if right else one.low) == float(right)


def test_a_single_error_does_not_end_the_interval_too_early() -> None:
    doubt, _ = pool(450)
    numbers = strata(doubt, 100)
    rows = drawn(numbers, 100, np.random.default_rng(1))
    right = np.ones(100, bool)
    right[0] = False
    assert estimate(numbers, 1 - doubt, rows, right).tuned.high > 449 / 450


def test_whoever_has_answered_everything_knows_it() -> None:
    doubt, right = pool(60)
    numbers = strata(doubt, 60)
    found = estimate(numbers, 1 - doubt, np.arange(60), right)
    share = float(right.mean())
    for name in METHODS:
        assert getattr(found, name) == Proportion(*[pytest.approx(share)] * 3, 60)


def test_a_half_filled_sheet_is_weighed_by_groups_of_strata() -> None:
    doubt, right = pool(1200)
    numbers = strata(doubt, 100)
    share, errors, widths = right.mean(), [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        rows = rng.permutation(drawn(numbers, 100, rng))[:20]
        found = estimate(numbers, 1 - doubt, rows, right[rows])
        errors.append(found.stratified.value - share)
        widths.append(
            (found.stratified.high - found.stratified.low) / (found.wilson.high - found.wilson.low)
        )
    # One answer a stratum, weighed by where it happens to lie, would err more than no strata do.
    assert np.sqrt(np.mean(np.square(errors))) < np.sqrt(share * (1 - share) / 20)
    assert np.mean(widths) < 1


def test_strata_without_an_answer_count_to_their_neighbours() -> None:
    doubt, right = pool(400)
    numbers = strata(doubt, 100)
    rows = np.flatnonzero((numbers != 0) & (numbers != 4))[::9]
    found = estimate(numbers, 1 - doubt, rows, right[rows])
    assert found.images == 400 and 0 < found.tuned.low < found.tuned.value < found.tuned.high < 1
    with pytest.raises(ValueError, match="no answer"):
        estimate(numbers, 1 - doubt, rows[:0], right[rows][:0])


def test_a_prediction_that_says_nothing_gets_no_weight() -> None:
    doubt, right = pool(2000)
    noise = np.random.default_rng(5).random(2000)
    weights = []
    for seed in range(40):
        rows = drawn(strata(doubt, 50), 50, np.random.default_rng(seed))
        weights.append(estimate(strata(doubt, 50), noise, rows, right[rows]).weight)
    assert np.mean(np.array(weights) == 0) > 0.7 and max(weights) < 1


@pytest.mark.parametrize(("answers", "hint"), [(50, 3.0), (100, 3.0), (100, 0.0), (300, 1.5)])
def test_the_interval_holds_the_truth_and_is_narrower_than_wilsons(
    answers: int, hint: float
) -> None:
    doubt, right = pool(1200, seed=3, hint=hint)
    numbers = strata(doubt, answers)
    found: list[Estimates] = []
    for seed in range(200):
        rows = drawn(numbers, answers, np.random.default_rng(seed))
        found.append(estimate(numbers, 1 - doubt, rows, right[rows]))
    share = right.mean()
    width = np.mean([one.wilson.high - one.wilson.low for one in found])
    for name in METHODS:
        ones = [getattr(one, name) for one in found]
        assert np.mean([one.low <= share <= one.high for one in ones]) > 0.91, name
        assert abs(np.mean([one.value for one in ones]) - share) < 0.012, name
        if hint == 3.0:
            assert np.mean([one.high - one.low for one in ones]) < 0.8 * width, name
