"""Whatever a batch looks like, what comes out are probabilities, or a sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import TeacherError
from pipeline.labels.refine.batch import Batch, Refined, Space
from pipeline.labels.refine.refine import How, refine
from tests.refine.synthetic import sight, softmax, world

HOW: tuple[How, ...] = ("auto", "always")


def checked(batch: Batch, how: How) -> Refined:
    """Refine a batch and look at what must hold for all of them."""
    kept = batch.plain.copy()
    refined = refine(batch, how)
    shares = refined.probabilities
    assert shares.shape == batch.plain.shape and shares.dtype == np.float32
    assert np.isfinite(shares).all() and shares.min() >= 0
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-3)
    assert np.array_equal(batch.plain, kept)
    if refined.refined:
        rows = np.flatnonzero(batch.known >= 0)
        one_hot = np.eye(len(batch.classes), dtype=np.float32)[batch.known[rows]]
        assert np.array_equal(shares[rows], one_hot)
    else:
        assert shares is batch.plain and refined.changed_classes == ()
    if refined.weights:
        assert set(refined.weights) == {space.name for space in batch.spaces}
        assert sum(refined.weights.values()) == pytest.approx(1)
    assert refined.why.endswith(".") and "nan" not in refined.why and "inf " not in refined.why
    for notice in refined.notices:
        assert set(notice.rows.tolist()) <= set(range(len(batch.plain)))
        assert len(np.unique(notice.rows)) == len(notice.rows)
        assert notice.class_name in batch.classes
    return refined


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Batches as no teacher would make them, yet within the contract."""
    n, count = draw(st.integers(1, 60)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth = rng.integers(0, draw(st.integers(1, count)), n)
    heat = draw(st.sampled_from([0.0, 1.0, 10.0, 300.0]))
    plain = softmax(heat * (rng.normal(size=(n, count)) + 2 * np.eye(count)[truth]))
    spaces = []
    for number in range(draw(st.integers(1, 3))):
        spread, dim = draw(st.sampled_from([0.0, 1.0, 9.0])), draw(st.integers(1, 9))
        vectors = sight(truth, spread=spread, dim=dim, seed=number)
        vectors[rng.random(n) < draw(st.sampled_from([0.0, 0.0, 0.3, 1.0]))] = 0
        vectors = vectors.astype(draw(st.sampled_from([np.float32, np.float16])))
        spaces.append(Space(f"space {number}", vectors))
    told = rng.random(n) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    known = np.where(told, rng.integers(0, draw(st.integers(1, count)), n), -1)
    votes = 10.0 ** -(rng.random(n) * draw(st.sampled_from([0, 1, 6, 30])))
    prior = None
    if draw(st.booleans()):
        shares = rng.random(count) * (rng.random(count) < 0.7)
        shares[0] += 0.1
        prior = shares / shares.sum()
    names = tuple(f"{{}} 'class' {number}\n" for number in range(count))
    return Batch(names, plain, tuple(spaces), known,
                 votes.astype(np.float32), prior)  # fmt: skip


@given(batches(), st.sampled_from(HOW))
@settings(max_examples=150)
def test_wild_batches_give_probabilities(batch: Batch, how: How) -> None:
    checked(batch, how)


@pytest.mark.parametrize("how", HOW)
def test_odd_batches(how: How) -> None:
    shown = world([60] * 6)
    batch, (own,) = shown.batch, shown.batch.spaces
    certain = np.eye(6, dtype=np.float32)[shown.truth]
    assert np.array_equal(
        checked(replace(batch, plain=certain), how).probabilities.argmax(axis=1), shown.truth
    )
    checked(replace(batch, plain=np.eye(6, dtype=np.float32)[np.zeros(360, int)]), how)
    even = checked(replace(batch, plain=np.full((360, 6), 1 / 6, np.float32)), how)
    assert how == "always" or not even.refined
    same = np.tile(own.vectors[:1], (360, 1))
    alike = checked(replace(batch, spaces=(Space("own", same),)), how)
    assert not alike.refined and "all of them look the same to own" in alike.why
    lost = own.vectors.copy()
    lost[::7] = 0
    checked(replace(batch, spaces=(Space("own", lost),)), how)
    checked(replace(batch, votes=np.where(np.arange(360) % 2, 1e-30, 1).astype(np.float32)), how)
    checked(replace(batch, prior=np.eye(6)[0]), how)
    for count in range(1, 40):
        few = shown.only(np.arange(count))
        checked(few.batch, how)
        checked(few.told(np.arange(count)).batch, how)
        checked(few.told(np.arange(1)).batch, how)


def test_one_class_leaves_nothing_to_choose() -> None:
    shown = world([40]).told(np.arange(20))
    for how in HOW:
        refined = checked(shown.batch, how)
        assert refined.why == (
            "Each image is labeled alone: there are no two classes to choose between."
        )


def test_two_classes_and_two_hundred() -> None:
    plain, right = [], []
    for seed in range(8):
        two = world([40, 40], spread=1.2, fit=0.6, loud={1: 0.2}, seed=seed)
        plain.append(two.plain)
        right.append(two.right(checked(two.batch, "auto").probabilities))
    assert np.mean(plain) < 0.95 < 0.99 <= np.mean(right)
    assert all(after >= before for before, after in zip(plain, right, strict=True))
    many = world([3] * 200, fit=0.9)
    for how in HOW:
        checked(many.batch, how)


def test_vectors_that_are_no_numbers_are_told() -> None:
    shown = world([60] * 6)
    vectors = sight(shown.truth)
    vectors[[3, 5], 0] = np.nan, np.inf
    with pytest.raises(TeacherError) as caught:
        refine(shown.beside("weird", vectors).batch)
    assert str(caught.value) == (
        "weird gives vectors that are not numbers for 2 of 360 images, so images cannot be "
        "compared by it. Choose another model, or set `precision: fp32`."
    )


def test_vectors_on_disk_and_in_half_precision(tmp_path: object) -> None:
    """As the stage hands them over: memory maps, of which each block is read when it is needed."""
    shown = world([60] * 6, spread=1.2, fit=0.6)
    (own,) = shown.batch.spaces
    there = {}
    for name, array in (("plain", shown.batch.plain), ("own", own.vectors.astype(np.float16))):
        there[name] = np.memmap(f"{tmp_path}/{name}", array.dtype, "w+", shape=array.shape)
        there[name][:] = array
    batch = replace(shown.batch, plain=there["plain"], spaces=(Space("own", there["own"]),))
    refined = checked(batch, "auto")
    exact = refine(shown.batch).probabilities
    assert (refined.probabilities.argmax(axis=1) == exact.argmax(axis=1)).mean() >= 0.99
