"""The benchmark of answers: what its simulated people do, and what it counts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.answers_rows import AT, STRATEGIES, Row, scored, summarized
from tests.refine.synthetic import World, world


@pytest.fixture(scope="module")
def shown() -> World:
    return world([40] * 4, spread=1.2, fit=0.6, unknown=[2])


@pytest.mark.parametrize("name", STRATEGIES)
def test_answers_make_labels_better_whatever_is_asked_about(shown: World, name: str) -> None:
    accuracies = scored(shown.batch, shown.truth, STRATEGIES[name], 0, seed=0)
    assert len(accuracies) == len(AT)
    assert accuracies[0] < 0.9 <= accuracies[-1]
    assert accuracies == scored(shown.batch, shown.truth, STRATEGIES[name], 0, seed=0)


def test_a_person_who_errs_leaves_errors(shown: World) -> None:
    exact, wrong = (
        scored(shown.batch, shown.truth, STRATEGIES["random"], err, seed=0) for err in (0, 1)
    )
    assert exact[0] == wrong[0]
    # An image that was answered carries the answer, right or not.
    assert wrong[-1] <= 1 - AT[-1] / len(shown.truth) < exact[-1]


def test_all_images_may_be_answered() -> None:
    few = world([10, 10], spread=1.2)
    accuracies = scored(few.batch, few.truth, STRATEGIES["ours"], 0, seed=1)
    assert len(accuracies) == len(AT) and accuracies[2:] == [1.0] * 3


def test_figures_are_averaged_over_data_and_teachers() -> None:
    rows = [
        Row(data, "tiny", "ours", "exact", answers, accuracy, 100, 3)
        for data, accuracies in (("a", (0.5, 0.7)), ("b", (0.7, 0.9)))
        for answers, accuracy in zip((0, 20), accuracies, strict=True)
    ]
    assert summarized(rows) == [
        {"strategy": "ours", "person": "exact", "answers": 0, "accuracy": 0.6},
        {"strategy": "ours", "person": "exact", "answers": 20, "accuracy": 0.8},
    ]
    assert np.isfinite([one["accuracy"] for one in summarized(rows)]).all()
