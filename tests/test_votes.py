"""Votes: look-alikes and frames of a film count no more than others."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pipeline.labels.votes import votes
from tests.fakes import unit

SCHEMA = {"video": pl.String, "seconds": pl.Float64}


def stills(count: int) -> pl.DataFrame:
    return pl.DataFrame({"video": [None] * count, "seconds": [None] * count}, SCHEMA)


def test_look_alikes_share_a_vote() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(20, 32)))
    vectors[10:14] = vectors[10]
    vectors[15] = unit(vectors[16] + 0.001 * vectors[3])
    found = votes(vectors, stills(20))
    assert found.dtype == np.float32 and found.shape == (20,)
    assert found[10:14] == pytest.approx([0.25] * 4)
    assert found[15:17] == pytest.approx([0.5] * 2)
    assert (np.delete(found, [10, 11, 12, 13, 15, 16]) == 1).all()


def test_frames_of_a_stretch_share_a_vote_and_a_fixed_camera_does_not_make_one_of_all() -> None:
    rng = np.random.default_rng(1)
    vectors = unit(rng.normal(size=(30, 32)))
    vectors[:20] = unit(vectors[0] + 0.001 * vectors[:20])  # what a fixed camera sees
    images = pl.DataFrame(
        {"video": ["film"] * 20 + [None] * 10, "seconds": [*map(float, range(20)), *[None] * 10]},
        SCHEMA,
    )
    # The film lasts 19 s: its stretches are the shortest there are, a second.
    assert votes(vectors, images) == pytest.approx([1.0] * 30)
    fast = images.with_columns(pl.col("seconds") / 10)  # ten frames a second
    assert votes(vectors, fast) == pytest.approx([0.1] * 20 + [1.0] * 10)


def test_a_still_that_looks_like_a_frame_shares_its_vote() -> None:
    vectors = unit(np.random.default_rng(2).normal(size=(8, 32)))
    vectors[7] = vectors[0]
    images = pl.DataFrame(
        {"video": ["film"] * 4 + [None] * 4, "seconds": [0.0, 5.0, 10.0, 15.0, *[None] * 4]}, SCHEMA
    )
    assert votes(vectors, images) == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.5])


@pytest.mark.parametrize("count", [1, 2])
def test_the_smallest_batches_have_votes(count: int) -> None:
    vectors = unit(np.random.default_rng(3).normal(size=(count, 8)))
    assert votes(vectors, stills(count)) == pytest.approx([1.0] * count)
