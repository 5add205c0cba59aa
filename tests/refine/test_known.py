"""What people have said of some images: example images, and answers."""

from __future__ import annotations

import numpy as np

from pipeline.labels.doubt import doubt
from pipeline.labels.refine.refine import refine
from tests.refine.synthetic import World, world


def some(shown: World, each: int) -> np.ndarray:
    """Rows of the first images of every class."""
    return np.concatenate(
        [np.flatnonzero(shown.truth == number)[:each] for number in range(shown.truth.max() + 1)]
    )


def test_three_examples_put_a_lost_word_right() -> None:
    shown = world([60] * 6, spread=1.2, fit=0.6, unknown=[2])
    lost = shown.truth == 2
    before = refine(shown.batch).probabilities.argmax(axis=1)
    assert (before[lost] == 2).mean() < 0.3
    told = shown.told(np.flatnonzero(lost)[:3])
    refined = refine(told.batch)
    labels = refined.probabilities.argmax(axis=1)
    assert (labels[lost] == 2).mean() >= 0.95
    assert shown.right(refined.probabilities) >= 0.98
    assert refined.notices == ()  # nothing is lost any more


def test_examples_do_without_words() -> None:
    """Words by chance, and five examples of each class."""
    shown = world([60] * 6, spread=1.2, unknown=range(6))
    assert shown.plain < 0.3
    refined = refine(shown.told(some(shown, 5)).batch)
    assert refined.refined and shown.right(refined.probabilities) >= 0.97


def test_what_was_told_is_kept() -> None:
    shown = world([60] * 6, spread=1.4, fit=0.6)
    rows = some(shown, 2)
    told = (shown.truth[rows] + 1) % 6
    for how in ("auto", "always"):
        refined = refine(shown.told(rows, told).batch, how)  # type: ignore[arg-type]
        assert refined.refined
        assert np.array_equal(refined.probabilities[rows], np.eye(6, dtype=np.float32)[told])


def test_ten_answers_say_who_is_right() -> None:
    """The batch is expected to be right, and its sentence says what answers it found."""
    shown = world([60] * 6, spread=1.4, fit=0.6)
    refined = refine(shown.told(some(shown, 5)).batch)
    assert refined.refined
    assert "Of 30 images that people named, hidden, the words alone know 2" in refined.why
    assert refined.why.startswith("The images were labeled together: ")
    few = refine(shown.told(some(shown, 1)).batch)
    assert few.refined and "hidden" not in few.why  # six answers say nothing


def test_answers_that_agree_with_the_words_against_the_batch_win() -> None:
    """The images hardly lie apart, and people want what the words say."""
    shown = world([60] * 4, spread=3.0, fit=0.4, seed=2)
    rows = np.random.default_rng(0).permutation(240)[:100]
    words = shown.batch.plain.argmax(axis=1)
    told = shown.told(rows, words[rows])
    refined = refine(told.batch)
    assert refined.why.startswith("Each image is labeled alone, by the words")
    assert "Of 100 images that people named, hidden, the words alone know 100," in refined.why
    assert not refined.refined and refined.probabilities is told.batch.plain


def test_one_answer_by_mistake_does_not_turn_the_rest() -> None:
    shown = world([60] * 6, spread=1.2, fit=0.6)
    rows = some(shown, 4)
    classes = shown.truth[rows].copy()
    classes[0] = 3
    honest, mistaken = refine(shown.told(rows).batch), refine(shown.told(rows, classes).batch)
    lost = shown.right(honest.probabilities) - shown.right(mistaken.probabilities)
    assert lost <= 0.02


def test_answers_for_odd_images_do_no_harm() -> None:
    """The most doubtful images are like few others of their classes: they must not stand for
    them."""
    lost = []
    for seed in range(3):
        shown = world([60] * 6, spread=1.8, fit=0.6, seed=seed)
        before = refine(shown.batch).probabilities
        rows = np.argsort(-doubt(shown.batch, before))[:20]
        others = np.setdiff1d(np.arange(360), rows)
        after = refine(shown.told(rows).batch).probabilities
        was, now = ((one.argmax(axis=1) == shown.truth)[others].mean() for one in (before, after))
        lost.append(was - now)
    assert np.mean(lost) <= 0.02


def test_an_answer_that_the_words_gave_teaches_little() -> None:
    """What contradicts them teaches; answers the words knew change no label of the others."""
    shown = world([60] * 6, spread=1.2, fit=0.6)
    sure = shown.batch.plain.max(axis=1) > 0.99
    rows = np.flatnonzero(sure & (shown.batch.plain.argmax(axis=1) == shown.truth))[:6]
    assert len(rows) == 6
    before, after = (refine(one.batch).probabilities for one in (shown, shown.told(rows)))
    assert (before.argmax(axis=1) != after.argmax(axis=1)).mean() <= 0.01


def test_a_mistake_does_not_turn_a_class_that_nobody_has_shown() -> None:
    """Three answers, and one of them, the only one for its class, names another."""
    for seed in range(4):
        shown = world([60] * 6, spread=1.2, fit=0.6, seed=seed)
        rows = some(shown, 1)[:3]
        told = refine(shown.told(rows, np.array([3, 1, 2])).batch).probabilities
        assert shown.right(told) >= shown.right(refine(shown.batch).probabilities) - 0.02


def test_all_images_may_be_known() -> None:
    shown = world([60] * 6)
    refined = refine(shown.told(np.arange(360)).batch)
    assert refined.refined and shown.right(refined.probabilities) == 1
    assert set(np.unique(refined.probabilities)) == {0, 1}
    one = np.flatnonzero(shown.truth == 2)
    assert shown.right(refine(shown.told(one).batch).probabilities) >= 0.99
