"""Large batches: a sample is read together, and all images are labeled by what was learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import TeacherError
from pipeline.labels.refine.batch import Space
from pipeline.labels.refine.refine import refine
from tests.refine.synthetic import World, world

SIZES = (4500, 4500, 3000, 1500, 400, 100)


@pytest.fixture(scope="module")
def large() -> World:
    return world(SIZES, spread=1.4, fit=0.6)


def test_a_sample_labels_as_all_images_together_do(large: World) -> None:
    sampled = refine(large.batch).probabilities
    few = np.sort(np.random.default_rng(1).permutation(len(large.truth))[:12_000])
    exact = refine(large.only(few).batch).probabilities
    part = large.only(few)
    assert part.right(sampled[few]) >= part.right(exact) - 0.01
    assert part.right(sampled[few]) > part.plain + 0.15
    assert (sampled[few].argmax(axis=1) == exact.argmax(axis=1)).mean() >= 0.98
    assert sampled.dtype == np.float32 and np.allclose(sampled.sum(axis=1), 1, atol=1e-3)
    for number in (4, 5):  # the rare ones
        mine = large.truth == number
        assert (sampled[mine].argmax(axis=1) == number).mean() >= 0.8
    assert np.array_equal(sampled, refine(large.batch).probabilities)


def test_all_that_people_said_is_kept_in_a_large_batch(large: World) -> None:
    """Also beyond the four thousand answers that the sample has room for."""
    rows = np.random.default_rng(2).permutation(len(large.truth))[:5000]
    told = large.told(rows)
    refined = refine(told.batch)
    one_hot = np.eye(6, dtype=np.float32)[told.truth[rows]]
    assert np.array_equal(refined.probabilities[rows], one_hot)
    assert "images that people named, hidden, the words alone know" in refined.why
    others = np.setdiff1d(np.arange(len(told.truth)), rows)
    assert told.only(others).right(refined.probabilities[others]) >= 0.98


def test_moves_are_counted_among_all_images(large: World) -> None:
    refined = refine(large.batch)
    was, now = large.batch.plain.argmax(axis=1), refined.probabilities.argmax(axis=1)
    assert f"and {(was != now).sum():,} of 14,000 labels moved." in refined.why
    touched = {*was[was != now].tolist(), *now[was != now].tolist()}
    assert refined.changed_classes == tuple(f"thing {number}" for number in sorted(touched))


def test_each_image_alone_by_what_people_named() -> None:
    """Where the words are chance, and too few images are known to ask them who is right."""
    lost = world([3500] * 4, spread=4.0, unknown=range(4))
    rows = np.concatenate([np.flatnonzero(lost.truth == number)[:2] for number in range(4)])
    refined = refine(lost.told(rows).batch)
    assert refined.refined and lost.right(refined.probabilities) > lost.plain + 0.05
    assert refined.why.startswith("Each image is labeled alone, by the words and what people named")
    one_hot = np.eye(4, dtype=np.float32)[lost.truth[rows]]
    assert np.array_equal(refined.probabilities[rows], one_hot)
    assert np.allclose(refined.probabilities.sum(axis=1), 1, atol=1e-3)


def test_a_vector_that_is_no_number_is_found_beyond_the_sample(large: World) -> None:
    (own,) = large.batch.spaces
    vectors = own.vectors.copy()
    vectors[13_999] = np.nan
    with pytest.raises(TeacherError, match="not numbers for 1 of"):
        refine(replace(large.batch, spaces=(Space("own", vectors),)))
