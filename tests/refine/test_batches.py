"""What the images of a batch say about its words, where the truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.labels.refine.batch import Space
from pipeline.labels.refine.refine import refine
from tests.fakes import unit
from tests.refine.synthetic import World, sight, world


def test_a_prompt_that_attracts_everything_is_found_out() -> None:
    """And so is one that lies half of the way to another class's images."""
    for shown in (
        world([60] * 6, fit=0.6, loud={0: 0.3}),
        world([60] * 6, fit=0.6, misplaced={0: 1}),
    ):
        assert shown.plain < 0.9
        refined = refine(shown.batch)
        assert shown.right(refined.probabilities) >= 0.99
        assert refined.refined and refined.why.startswith("The images were labeled together: ")
        assert "thing 0" in refined.changed_classes


def test_what_is_said_is_what_was_done() -> None:
    shown = world([60] * 6, spread=1.4, fit=0.6)
    refined = refine(shown.batch)
    was, now = shown.batch.plain.argmax(axis=1), refined.probabilities.argmax(axis=1)
    assert f"and {(was != now).sum()} of 360 labels moved." in refined.why
    touched = {*was[was != now].tolist(), *now[was != now].tolist()}
    assert refined.changed_classes == tuple(f"thing {number}" for number in sorted(touched))
    always = refine(shown.batch, "always")
    assert always.refined and "together because `refine` is `always`:" in always.why
    none = refine(shown.batch, "none")
    assert none.probabilities is shown.batch.plain and not none.refined
    assert none.why == "Each image is labeled alone: `refine` is `none`."
    assert (none.changed_classes, none.weights, none.notices) == ((), {}, ())


def test_a_word_that_means_nothing_does_no_harm_to_others() -> None:
    shown = world([60] * 6, spread=1.2, fit=0.6, unknown=[2])
    refined = refine(shown.batch)
    assert shown.right(refined.probabilities) > shown.plain + 0.1
    others = shown.truth != 2
    labels = refined.probabilities.argmax(axis=1)
    assert (labels == shown.truth)[others].mean() >= 0.98


def test_a_class_alone_in_the_batch_keeps_its_images() -> None:
    for spread in (0.9, 1.4):
        shown = world([0, 200, 0, 0, 0, 0], spread=spread, fit=0.6)
        assert shown.plain < 0.9
        assert shown.right(refine(shown.batch).probabilities) >= 0.99


def test_rare_classes_are_not_swallowed() -> None:
    shown = world([400, 100, 40, 20, 10, 5], spread=0.9, fit=0.6)
    labels = refine(shown.batch).probabilities.argmax(axis=1)
    for number in range(6):
        mine = shown.truth == number
        assert (labels[mine] == number).mean() >= 0.9, number


def test_words_chosen_by_chance_are_not_refined() -> None:
    shown = world([60] * 6, fit=0.6, unknown=range(6))
    refined = refine(shown.batch)
    assert refined.probabilities is shown.batch.plain
    assert not refined.refined and refined.changed_classes == ()
    assert refined.why.startswith("Each image is labeled alone, by the words: the prompts lead at")
    assert refined.why.endswith("Reword them, name examples, or answer for a few images.")


@pytest.mark.parametrize("count", [3, 10, 29])
def test_a_few_images_are_left_alone_unless_told_otherwise(count: int) -> None:
    shown = world([60] * 6).only(np.arange(count))
    refined = refine(shown.batch)
    assert refined.probabilities is shown.batch.plain and not refined.refined
    assert refined.why == (
        f"Each image is labeled alone: {count} images are too few to speak for one another."
    )
    told = refine(shown.batch, "always")
    assert told.refined and told.probabilities.shape == (count, 6)


def test_ten_images_do_not_lose_by_always() -> None:
    for seed in range(5):
        shown = world([5, 5], spread=1.2, fit=0.7, seed=seed)
        assert shown.right(refine(shown.batch, "always").probabilities) >= shown.plain


def test_a_space_weighs_what_it_sees() -> None:
    shown = world([60] * 6, spread=1.4, fit=0.6)
    alone = shown.right(refine(shown.batch).probabilities)
    good = refine(shown.beside("good", sight(shown.truth, spread=0.7)).batch)
    assert good.weights["good"] > 0.6
    assert shown.right(good.probabilities) >= max(alone, 0.99)
    noise = sight(shown.truth, spread=20.0)
    bad = refine(shown.beside("bad", noise).batch)
    assert bad.weights["bad"] < 0.1
    assert shown.right(bad.probabilities) >= alone - 0.01
    both = refine(shown.beside("good", sight(shown.truth, spread=0.7)).beside("bad", noise).batch)
    assert both.weights["bad"] < 0.05 and sum(both.weights.values()) == pytest.approx(1)


def test_a_space_that_calls_everything_alike_earns_nothing_by_it() -> None:
    """With one class in the batch every space agrees with itself, and shows nothing."""
    shown = world([0, 200, 0, 0, 0, 0])
    refined = refine(shown.beside("bad", sight(shown.truth, spread=20.0)).batch)
    assert refined.weights == {"own": 1.0, "bad": 0.0}
    assert shown.right(refined.probabilities) == 1


def test_a_space_that_sees_nothing_weighs_nothing() -> None:
    shown = world([60] * 6)
    blind = np.tile(unit(np.ones(8)), (360, 1))
    refined = refine(shown.beside("blind", blind).batch)
    assert refined.weights == {"own": 1.0, "blind": 0.0}
    assert np.array_equal(refined.probabilities, refine(shown.batch).probabilities)
    # Nor where it is the teacher's own, and another sees.
    (own,) = shown.batch.spaces
    spaces = (Space("blind", blind), own)
    assert refine(replace(shown.batch, spaces=spaces)).weights == {"blind": 0.0, "own": 1.0}
    for spaces in ((Space("blind", blind),), (Space("blind", blind), Space("dark", 0 * blind))):
        none = refine(replace(shown.batch, spaces=spaces), "always")
        assert none.probabilities is shown.batch.plain and not none.refined
        assert none.why.startswith("Each image is labeled alone: all of them look the same to bli")


def test_two_hundred_looks_at_one_scene_do_not_outvote_the_rest() -> None:
    """Of six worlds with a wrongly named scene that is there 200 times."""
    shared, crowd = 0, 0
    for seed in range(6):
        shown = world([40] * 6, spread=1.4, fit=0.6, seed=seed)
        once = refine(shown.batch, "always").probabilities.argmax(axis=1)
        scene = np.flatnonzero(shown.batch.plain.argmax(axis=1) != shown.truth)[0]
        film = _repeated(shown, scene, 200)
        votes = film.batch.votes.copy()
        votes[[scene, *range(240, 440)]] = 1 / 201
        told = refine(replace(film.batch, votes=votes), "always").probabilities[:240]
        shared += (told.argmax(axis=1) != once).sum()
        crowd += (refine(film.batch, "always").probabilities[:240].argmax(axis=1) != once).sum()
    assert shared <= 24 and shared < crowd / 2  # of 1,440


def _repeated(shown: World, scene: int, times: int) -> World:
    rng = np.random.default_rng(5)
    rows = np.concatenate([np.arange(len(shown.truth)), np.repeat(scene, times)])
    film = shown.only(rows)
    vectors = film.batch.spaces[0].vectors.copy()
    vectors[-times:] = unit(vectors[-times:] + 0.002 * rng.normal(size=(times, vectors.shape[1])))
    return replace(film, batch=replace(film.batch, spaces=(Space("own", vectors),)))


def test_a_declared_share_counts() -> None:
    """Where an image lies between two classes, the one that is declared to be common gets it."""
    shown = world([60] * 6, spread=2.0, fit=0.5)
    prior = np.full(6, 0.02)
    prior[3] = 0.9
    free = refine(shown.batch, "always").probabilities
    told = refine(replace(shown.batch, prior=prior), "always").probabilities
    assert (told.argmax(axis=1) == 3).sum() > (free.argmax(axis=1) == 3).sum()
    assert told[:, 3].mean() > free[:, 3].mean()


def test_the_order_of_the_images_does_not_matter() -> None:
    """Nor does it, beyond rounding, what they are said to count, as long as they count alike."""
    plain = world([60] * 6, spread=1.4, fit=0.6)
    order = np.random.default_rng(3).permutation(360)
    for shown in (plain, plain.beside("other", sight(plain.truth, spread=1.2))):
        one, other = refine(shown.batch), refine(shown.only(order).batch)
        assert np.allclose(one.probabilities[order], other.probabilities, atol=1e-4)
        assert one.why == other.why
        assert one.weights == pytest.approx(other.weights)
        assert [n.sentence for n in one.notices] == [n.sentence for n in other.notices]
        again = refine(shown.batch)
        assert np.array_equal(one.probabilities, again.probabilities)
        light = replace(shown.batch, votes=np.full(360, 1e-20, np.float32))
        assert np.allclose(refine(light).probabilities, one.probabilities, atol=1e-4)
