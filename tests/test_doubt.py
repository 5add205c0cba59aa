"""Doubt, what belongs to no class, and groups of strangers, on clusters of vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.labels.around import around
from pipeline.labels.doubt import doubt
from pipeline.labels.probe import probe
from pipeline.labels.refine.batch import Batch, Space
from pipeline.labels.strangers import strangers
from pipeline.labels.unlike import reject_reason, reject_threshold, unlike
from pipeline.labels.words import Words, words_of
from tests.fakes import ColorTeacher, unit

DIM = 32
SCALE = 20.0


def clusters(
    counts: list[int], *, classes: int | None = None, noise: float = 0.12, seed: int = 0
) -> tuple[Batch, np.ndarray]:
    """A batch of clusters, the first of which are classes with a prompt each, and which cluster
    each image is of. Images and prompts share a cone, as those of CLIP do."""
    rng = np.random.default_rng(seed)
    classes = len(counts) if classes is None else classes
    centres = np.eye(DIM, dtype=np.float32)[1 : 1 + len(counts)]
    cone = np.eye(DIM, dtype=np.float32)[0]
    truth = np.repeat(np.arange(len(counts)), counts)
    vectors = unit(cone + centres[truth] + noise * rng.standard_normal((len(truth), DIM)))
    prompts = unit(cone + centres[:classes] + 0.05 * rng.standard_normal((classes, DIM)))
    logits = SCALE * vectors @ prompts.T
    plain = np.exp(logits - logits.max(axis=1, keepdims=True))
    plain /= plain.sum(axis=1, keepdims=True)
    n = len(truth)
    return Batch(
        classes=tuple("abcdefgh"[:classes]),
        plain=plain.astype(np.float32),
        spaces=(Space("teacher", vectors),),
        known=np.full(n, -1),
        votes=np.ones(n, np.float32),
    ), truth


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the curve: how often a positive scores above a negative."""
    above = scores[positive][:, None] > scores[~positive][None]
    return float(above.mean())


@pytest.mark.parametrize("count", [12, 60, 100])
def test_a_cluster_of_strangers_fits_least(count: int) -> None:
    batch, truth = clusters([120, 100, 80, count], classes=3)
    scores = unlike(batch, batch.plain)
    assert scores.dtype == np.float32 and scores.min() >= 0 and scores.max() <= 1
    assert area(scores, truth == 3) > 0.97


def test_scattered_strangers_fit_least() -> None:
    batch, truth = clusters([100, 100, 100] + [3] * 8, classes=3)
    assert area(unlike(batch, batch.plain), truth >= 3) > 0.95


def test_few_are_turned_away_where_everything_fits() -> None:
    shares = []
    for seed in range(5):
        batch, _ = clusters([150, 100, 50, 20], seed=seed)
        scores = unlike(batch, batch.plain)
        limit = reject_threshold(scores, "auto")
        assert limit is not None
        shares.append(float((scores >= limit).mean()))
    assert np.mean(shares) < 0.01


def test_strangers_are_turned_away() -> None:
    batch, truth = clusters([120, 100, 80, 30], classes=3)
    scores = unlike(batch, batch.plain)
    limit = reject_threshold(scores, "auto")
    assert limit is not None
    turned = scores >= limit
    assert turned[truth == 3].mean() > 0.9 and turned[truth < 3].mean() < 0.02


def test_a_useless_second_space_does_little_harm() -> None:
    batch, truth = clusters([120, 100, 80, 30], classes=3)
    noise = unit(np.random.default_rng(1).standard_normal((len(truth), 16)))
    both = replace(batch, spaces=(*batch.spaces, Space("noise", noise)))
    assert area(unlike(both, batch.plain), truth == 3) > 0.95


def test_what_a_person_named_fits_and_is_not_doubted() -> None:
    batch, truth = clusters([60, 60, 20], classes=2)
    known = np.where(truth == 2, 1, -1)
    named = replace(batch, known=known)
    assert unlike(named, batch.plain)[truth == 2].max() == 0
    assert doubt(named, batch.plain)[truth == 2].max() == 0


@pytest.mark.parametrize(("setting", "expected"), [("none", None), (0.9, 0.9), (0, 0.0)])
def test_the_threshold_follows_the_setting(setting: object, expected: float | None) -> None:
    assert reject_threshold(np.zeros(100, np.float32), setting) == expected  # type: ignore[arg-type]


def test_a_handful_of_images_has_no_threshold() -> None:
    assert reject_threshold(np.ones(10, np.float32), "auto") is None


def test_the_reason_names_score_and_limit() -> None:
    assert reject_reason(0.9).format("0.95") == (
        "It fits no class: unlike 0.95, from 0.9 on images are turned away."
    )


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_batches_of_hardly_any_images(count: int) -> None:
    batch, _ = clusters([count, 0])
    for scores in (unlike(batch, batch.plain), doubt(batch, batch.plain)):
        assert scores.shape == (count,) and np.isfinite(scores).all()
    assert strangers(batch, np.ones(count, np.float32)) == []


def test_images_that_are_all_the_same() -> None:
    batch, _ = clusters([50, 0], noise=0.0)
    for scores in (unlike(batch, batch.plain), doubt(batch, batch.plain)):
        assert np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1


def test_a_single_class_doubts_nothing() -> None:
    batch, _ = clusters([40])
    assert doubt(batch, batch.plain).max() == 0 and unlike(batch, batch.plain).max() == 0


def test_certain_probabilities_are_no_trouble() -> None:
    batch, truth = clusters([80, 80, 20], classes=2)
    certain = np.eye(2, dtype=np.float32)[batch.plain.argmax(axis=1)]
    scores = unlike(replace(batch, plain=certain), certain)
    assert np.isfinite(scores).all()
    assert area(scores, truth == 2) > 0.8


def test_wrong_labels_are_doubted_most() -> None:
    batch, truth = clusters([150, 150, 150], noise=0.15)
    rng = np.random.default_rng(3)
    wrong = rng.choice(len(truth), 30, replace=False)
    shares = batch.plain.copy()
    shares[wrong] = np.roll(shares[wrong], 1, axis=1)  # as sure as before, of another class
    doubts = doubt(batch, shares)
    worst = np.argsort(-doubts)[:30]
    assert np.isin(worst, wrong).mean() > 0.9


def test_doubt_is_the_same_twice() -> None:
    batch, _ = clusters([60, 60])
    assert np.array_equal(doubt(batch, batch.plain), doubt(batch, batch.plain))


def test_the_probe_has_not_seen_what_it_answers() -> None:
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((400, 200)))
    labels = rng.integers(0, 2, 400)
    leads = probe(vectors, labels, 2, np.ones(400, np.float32))
    assert abs((leads > 0).mean() - 0.5) < 0.1  # random labels cannot be known


def test_neighbours_of_a_large_batch_are_found_in_a_part_of_it() -> None:
    batch, truth = clusters([3500, 3500])
    near = around(batch.spaces[0].vectors, batch.votes)
    assert len(near.rows) == 6000 and near.links.shape == (7000, 6000)
    assert np.allclose(near.links.sum(axis=1), 1, atol=1e-4)
    assert ((near.mean(truth.astype(float)) > 0.5) == (truth == 1)).mean() > 0.99
    doubts, scores = doubt(batch, batch.plain), unlike(batch, batch.plain)
    assert doubts.shape == scores.shape == (7000,)


def test_groups_of_strangers_are_named() -> None:
    batch, truth = clusters([150, 120, 90, 40, 25], classes=3)
    found = strangers(batch, unlike(batch, batch.plain))
    assert [one.kind for one in found] == ["none", "none"]
    for notice, cluster in zip(found, (3, 4), strict=True):
        assert notice.class_name is None
        assert (truth[notice.rows] == cluster).mean() > 0.95
        assert len(notice.rows) > 0.8 * (truth == cluster).sum()
        assert notice.sentence.startswith(f"{len(notice.rows)} images alike fit no prompt.")


def test_the_first_rows_are_the_most_typical() -> None:
    batch, _ = clusters([150, 120, 90, 40], classes=3)
    (notice,) = strangers(batch, unlike(batch, batch.plain))
    vectors = batch.spaces[0].vectors[notice.rows]
    likeness = vectors @ vectors.mean(axis=0)
    assert likeness[:9].mean() > likeness[-9:].mean()


def test_no_group_where_everything_fits() -> None:
    for seed in range(5):
        batch, _ = clusters([150, 100, 50, 20], seed=seed)
        assert strangers(batch, unlike(batch, batch.plain)) == []


def test_the_nearest_words_are_a_hint() -> None:
    batch, _ = clusters([150, 120, 90, 40], classes=3)
    axes = np.eye(DIM, dtype=np.float32)
    names = ("apple", "pear", "plum", "piano", "sky", "door")
    words = Words(names, unit(0.5 * axes[9] + axes[1:7]))
    asked = []

    def vocabulary() -> Words:
        asked.append(1)
        return words

    (notice,) = strangers(batch, unlike(batch, batch.plain), vocabulary)
    assert "nearest words: piano," in notice.sentence and asked == [1]
    fitting, _ = clusters([150, 120, 90])
    assert strangers(fitting, unlike(fitting, fitting.plain), vocabulary) == [] and asked == [1]


def test_a_large_group_is_found_beyond_what_is_compared() -> None:
    batch, truth = clusters([3500, 3500, 2500], classes=2, noise=0.1)
    found = strangers(batch, unlike(batch, batch.plain))
    assert found and (truth[found[0].rows] == 2).mean() > 0.95


def test_a_teacher_reads_a_thousand_words() -> None:
    words = words_of(ColorTeacher())
    assert len(words.names) == len(words.vectors) > 900
    assert np.allclose(np.linalg.norm(words.vectors, axis=1), 1, atol=1e-4)
    assert len(words.nearest(words.vectors[0])) == 3
