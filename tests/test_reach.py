"""How far answers reach, before anybody has answered."""

from __future__ import annotations

import numpy as np

from pipeline.review.reach import Reach
from tests.fakes import unit

DOUBTED = np.ones(40)


def kinds() -> np.ndarray:
    """Two kinds of thing (40, 8): 30 images of one, 10 of the other."""
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(8)[:2], [30, 10], axis=0)
    return unit(centres + 0.1 * rng.normal(size=(40, 8)))


def test_an_answer_reaches_its_kind() -> None:
    reached = Reach(kinds(), np.array([], int)).reached(DOUBTED)
    assert reached[:30].min() > 2 * reached[30:].max()
    only = Reach(kinds(), np.array([], int)).reached(np.repeat([0.0, 1.0], [30, 10]))
    assert only[:30].max() < only[30:].min() / 5


def test_what_was_reached_before_is_not_reached_again() -> None:
    reach = Reach(kinds(), np.array([], int))
    before = reach.reached(DOUBTED)
    reach.learn(0)
    after = reach.reached(DOUBTED)
    assert after[:30].max() < before[:30].max() / 2
    assert after[30:].min() > 0.9 * before[30:].min()


def test_answers_given_and_answers_to_come_count_alike() -> None:
    reach = Reach(kinds(), np.array([], int))
    for at in (3, 35, 4):
        reach.learn(at)
    given = Reach(kinds(), np.array([3, 35, 4]))
    assert np.allclose(reach.reached(DOUBTED), given.reached(DOUBTED))


def test_images_like_nothing_are_reached_by_nothing() -> None:
    reached = Reach(np.zeros((5, 3)), np.array([1])).reached(np.ones(5))
    assert np.array_equal(reached, np.zeros(5))
