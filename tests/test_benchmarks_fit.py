"""The wide pictures of the benchmark of fits, and how its rows are added up."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.fit import pooled
from benchmarks.fit_data import WIDE, wide_frame, widened
from tests.fakes import picture


def test_a_photo_on_a_wide_canvas_is_whole_and_stands_anywhere() -> None:
    photo, places = picture("red", 1, (60, 40)), set()
    pixels = np.asarray(photo)
    for seed in range(12):
        canvas = np.asarray(widened(photo, np.random.default_rng(seed)))
        assert canvas.shape == (40, 40 * WIDE, 3)
        here = [x for x in range(41) if np.array_equal(canvas[:, x : x + 60], pixels)]
        assert len(here) == 1
        places.update(here)
    assert min(places) < 10 and max(places) > 30


def test_a_photo_that_is_wide_already_stays_as_it_is() -> None:
    photo = picture("red", 1, (100, 40))
    assert widened(photo, np.random.default_rng(0)) is photo


def test_a_frame_of_the_line_is_wide_and_shows_fruit_anywhere() -> None:
    places = []
    for index in range(12):
        empty = np.asarray(wide_frame("nothing", 0, index), np.int16)
        shown = np.asarray(wide_frame("orange", 0, index), np.int16)
        assert shown.shape == (96, 240, 3)
        places.append(int(np.abs(shown - empty).sum(axis=(0, 2)).argmax()))
    # Beyond the square in the middle, which begins at 72 and ends at 168.
    assert min(places) < 72 and max(places) > 168


def test_seeds_are_added_up_for_each_set_and_fit() -> None:
    rows = [
        {"data": "a", "fit": fit, "seed": seed, "accuracy": right / 10, "n": 10}
        for fit, seed, right in (("pad", 0, 5), ("pad", 1, 7), ("crop", 0, 4))
    ]
    found = [(row["fit"], row["seeds"], row["accuracy"], row["n"]) for row in pooled(rows)]
    assert found == [("crop", 1, pytest.approx(0.4), 10), ("pad", 2, pytest.approx(0.6), 20)]
