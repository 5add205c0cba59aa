"""Probabilities that mean what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.labels.calibrate import calibrated, estimated_accuracy
from tests.test_doubt import clusters


def error(shares: np.ndarray, right: np.ndarray) -> float:
    """Calibration error over ten bins of confidence."""
    sure = shares.max(axis=1)
    bins = np.minimum((sure * 10).astype(int), 9)
    parts = [bins == number for number in range(10)]
    return float(
        sum(
            part.mean() * abs(right[part].mean() - sure[part].mean())
            for part in parts
            if part.any()
        )
    )


def sharpened(shares: np.ndarray, power: float) -> np.ndarray:
    """The same probabilities, too sure of themselves."""
    sharp = shares.astype(np.float64) ** power
    return (sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32)


def test_the_likeliest_class_stays() -> None:
    batch, _ = clusters([100, 100, 100], noise=0.3)
    shares = sharpened(batch.plain, 8)
    found = calibrated(shares, batch)
    assert found.shape == shares.shape and found.dtype == np.float32
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found.argmax(axis=1) == shares.argmax(axis=1)).all()


@pytest.mark.parametrize("noise", [0.7, 0.9])
def test_what_is_too_sure_gets_less_sure(noise: float) -> None:
    batch, truth = clusters([200, 200, 200], noise=noise)
    shares = sharpened(batch.plain, 20)
    right = shares.argmax(axis=1) == truth
    before, after = error(shares, right), error(calibrated(shares, batch), right)
    assert before > 0.1 and after < 0.6 * before


def test_answers_of_people_correct_it() -> None:
    batch, truth = clusters([200, 200, 200], noise=0.2)
    # All of the words are exchanged: neighbours agree, and all are wrong.
    shares = np.roll(sharpened(batch.plain, 10), 1, axis=1)
    wrong = replace(batch, plain=np.roll(batch.plain, 1, axis=1))
    known = np.where(np.arange(len(truth)) % 10 == 0, truth, -1)
    asked = replace(wrong, known=known)
    given = known >= 0
    told = shares.copy()
    told[given] = np.eye(3)[known[given]]
    before, after = calibrated(shares, wrong), calibrated(told, asked)
    assert after[~given].max(axis=1).mean() < before[~given].max(axis=1).mean() - 0.1
    assert (after[given] == told[given]).all()


def test_accuracy_is_estimated_from_what_can_contradict() -> None:
    near = []
    for noise in (0.15, 0.4):
        batch, truth = clusters([150, 150, 150], noise=noise)
        accuracy = (batch.plain.argmax(axis=1) == truth).mean()
        found = estimated_accuracy(batch.plain, batch, np.arange(len(truth)))
        near.append(abs(found - accuracy))
    assert max(near) < 0.25


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_hardly_any_images(count: int) -> None:
    batch, _ = clusters([count, 0])
    found = calibrated(batch.plain, batch)
    assert found.shape == batch.plain.shape and np.isfinite(found).all()


def test_a_single_class_stays_certain() -> None:
    batch, _ = clusters([20])
    assert (calibrated(batch.plain, batch) == 1).all()


def test_all_known_stays_known() -> None:
    batch, truth = clusters([30, 30])
    certain = np.eye(2, dtype=np.float32)[truth]
    found = calibrated(certain, replace(batch, known=truth))
    assert (found == certain).all()


def test_a_large_batch_is_judged_by_a_part_of_it() -> None:
    batch, _ = clusters([5000, 5000], noise=0.3)
    found = calibrated(batch.plain, batch)
    assert (found.argmax(axis=1) == batch.plain.argmax(axis=1)).all()
