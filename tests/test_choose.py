"""Which images people are asked about, and what the answers are expected to bring."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from pipeline.labels.doubt import doubt
from pipeline.labels.refine.batch import Batch, Notice, Refined, Space
from pipeline.labels.refine.refine import refine
from pipeline.review.choose import A_MINUTE, BY_CHANCE, Choice, Tally, choose, enough, expected
from tests.refine.synthetic import World, world

LOST = 2  # the class whose word means nothing


@pytest.fixture
def shown() -> World:
    return world([60] * 6, spread=1.2, fit=0.6, unknown=[LOST])


def asked(shown: World, count: int, **options: float) -> Choice:
    refined = refine(shown.batch)
    doubts = doubt(shown.batch, refined.probabilities)
    return choose(shown.batch, refined, doubts, count, **options)  # type: ignore[arg-type]


def answered(shown: World, answers: int, **options: float) -> World:
    """The world after so many answers, five at a time."""
    for _ in range(answers // 5):
        rows = np.append(np.flatnonzero(shown.batch.known >= 0), asked(shown, 5, **options).rows)
        shown = shown.told(rows)
    return shown


def plain(refined: Refined, **changes: object) -> Refined:
    return replace(refined, notices=(), **changes)  # type: ignore[arg-type]


def test_a_whole_lost_kind_is_found_and_put_right(shown: World) -> None:
    before = shown.right(refine(shown.batch).probabilities)
    first = asked(shown, 5, chance=0)
    assert (shown.truth[first.rows] == LOST).any()
    told = answered(shown, 10)
    assert before < 0.9
    assert shown.right(refine(told.batch).probabilities) >= 0.97


def test_different_kinds_are_asked_about(shown: World) -> None:
    """Where all labels are doubted alike, no kind is left out."""
    refined, doubts = plain(refine(shown.batch)), np.full(360, 0.3, np.float32)
    for seed in range(3):
        rows = choose(shown.batch, refined, doubts, 12, chance=0, seed=seed).rows
        assert len(np.unique(rows)) == 12
        assert len(np.unique(shown.truth[rows])) == 6


def test_what_is_known_or_settled_is_not_asked_about_again(shown: World) -> None:
    first = asked(shown, 10).rows
    told = shown.told(first)
    settled = np.zeros(360, bool)
    settled[100:300] = True
    for chance in (0, 0.5, 1):
        rows = asked(told, 30, settled=settled, chance=chance).rows  # type: ignore[arg-type]
        assert len(np.unique(rows)) == 30
        assert not np.isin(rows, first).any() and not settled[rows].any()


def test_an_answered_kind_waits(shown: World) -> None:
    """Where somebody has answered, and the label was right, the next question lies elsewhere."""
    refined = plain(refine(shown.batch))
    doubts = np.where(shown.truth == 0, 0.5, 0).astype(np.float32)
    first = choose(shown.batch, refined, doubts, 1, chance=0)
    assert shown.truth[first.rows[0]] == 0
    told = shown.told(np.flatnonzero(shown.truth == 0)[:40])
    second = choose(told.batch, refined, doubts, 1, chance=0)
    assert second.gains[0] < first.gains[0] / 2


def test_doubt_and_notices_are_asked_about_first(shown: World) -> None:
    refined = plain(refine(shown.batch))
    doubts = np.where(shown.truth == 4, 0.8, 0.0).astype(np.float32)
    choice = choose(shown.batch, refined, doubts, 3, chance=0)
    assert shown.truth[choice.rows[0]] == 4
    assert choice.gains[0] > 1.5 * choice.gains[1]  # one answer reaches many of them
    group = np.flatnonzero(shown.truth == 1)
    noticed = replace(refined, notices=(Notice("far", "thing 3", group, "Look."),))
    rows = choose(shown.batch, noticed, np.zeros(360, np.float32), 1, chance=0).rows
    assert (shown.truth[rows] == 1).all()


def test_a_stated_part_is_drawn_by_chance(shown: World) -> None:
    refined = refine(shown.batch)
    doubts = doubt(shown.batch, refined.probabilities)
    picks = [choose(shown.batch, refined, doubts, 5, seed=seed) for seed in range(60)]
    lots = np.concatenate([one.rows[one.by_chance] for one in picks])
    assert abs(len(lots) / 300 - BY_CHANCE) < 0.01
    # They are no more doubtful than all images, and any may be drawn.
    error = doubts.std() / len(lots) ** 0.5
    assert abs(doubts[lots].mean() - doubts.mean()) < 3 * error
    assert len(np.unique(lots)) > 50
    assert choose(shown.batch, refined, doubts, 8, chance=1).by_chance.all()
    assert not choose(shown.batch, refined, doubts, 8, chance=0).by_chance.any()


def test_the_same_answers_lead_to_the_same_question(shown: World) -> None:
    one, other = asked(shown, 7), asked(shown, 7)
    assert np.array_equal(one.rows, other.rows) and np.array_equal(one.gains, other.gains)


def test_gains_are_labels_and_fall(shown: World) -> None:
    choice = asked(shown, 40, chance=0)
    assert (choice.gains > 0).all()
    tens = choice.gains.reshape(4, 10).sum(axis=1)
    assert (np.diff(tens) < 0).all()
    assert choice.gains.sum() < 360


def test_more_answers_bring_less(shown: World) -> None:
    """What a minute is expected to bring falls towards nothing as a person goes on."""
    minutes = []
    for _ in range(3):
        minutes.append(expected(asked(shown, A_MINUTE, chance=0).gains, Tally()))
        shown = answered(shown, 20)
    assert minutes[0] > minutes[1] > minutes[2]


def test_answers_correct_what_is_expected() -> None:
    gains = [4.0, 2.0]
    assert expected(gains, Tally()) == 6
    assert expected(gains, Tally(expected=10, wrong=0)) < 2
    assert expected(gains, Tally(expected=2, wrong=10)) > 12
    assert expected([], Tally()) == 0


def test_enough_is_a_share_of_the_images() -> None:
    assert enough(0.9, 1000, until=0.001)
    assert not enough(1.1, 1000, until=0.001)
    assert not enough(0.0, 1000, until=0)


def test_a_few_images_and_none(shown: World) -> None:
    for size in (1, 2, 3, 7):
        few = shown.only(np.arange(size))
        choice = asked(few, 5)
        assert len(choice.rows) == len(np.unique(choice.rows)) == min(size, 5)
    everything = shown.told(np.arange(360))
    assert len(asked(everything, 5).rows) == 0
    last = shown.told(np.arange(358))
    assert sorted(asked(last, 5).rows.tolist()) == [358, 359]


def test_images_that_all_look_the_same(shown: World) -> None:
    same = np.tile(shown.batch.spaces[0].vectors[:1], (360, 1))
    batch = replace(shown.batch, spaces=(Space("own", same),))
    refined = refine(batch)
    rows = choose(batch, refined, np.zeros(360, np.float32), 5).rows
    assert len(np.unique(rows)) == 5


def test_a_second_space_has_a_say(shown: World) -> None:
    """Where only the second space tells kinds apart, questions are spread out by it."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((360, 32)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    sees = shown.batch.spaces[0]
    batch = replace(shown.batch, spaces=(Space("noise", noise), sees))
    refined = Refined(batch.plain, True, "", weights={"noise": 0.0, sees.name: 1.0})
    rows = choose(batch, refined, np.zeros(360, np.float32), 6, chance=0).rows
    assert len(np.unique(shown.truth[rows])) >= 5


def test_a_large_batch_is_asked_about_by_a_sample() -> None:
    shown = world([2500] * 8, spread=1.2, fit=0.6)
    lost = np.flatnonzero(shown.truth == 5)
    doubts = np.zeros(20_000, np.float32)
    doubts[lost] = 0.9
    refined = Refined(shown.batch.plain, True, "")
    known = np.full(20_000, -1)
    known[:3000] = shown.truth[:3000]
    for batch in (shown.batch, replace(shown.batch, known=known)):
        started = time.process_time()
        choice = choose(batch, refined, doubts, 5)
        assert time.process_time() - started < 20
        assert len(np.unique(choice.rows)) == 5 and (batch.known[choice.rows] < 0).all()
        assert shown.truth[choice.rows[~choice.by_chance][0]] == 5
        assert choice.gains.sum() < 20_000


def test_the_last_of_a_large_batch_are_all_found() -> None:
    shown = world([1000] * 4, spread=1.2)
    known = shown.truth.copy()
    left = np.arange(0, 4000, 100)
    known[left] = -1
    batch = replace(shown.batch, known=known)
    choice = choose(batch, Refined(batch.plain, True, ""), np.zeros(4000, np.float32), 39)
    assert np.isin(choice.rows, left).all() and len(np.unique(choice.rows)) == 39


def test_numbers_out_of_range(shown: World) -> None:
    for count, chance in ((0, 0.2), (5, -0.1), (5, 1.1)):
        with pytest.raises(ValueError):
            asked(shown, count, chance=chance)


def test_nothing_is_written_into_what_it_is_given(shown: World) -> None:
    batch: Batch = shown.batch
    refined = refine(batch)
    doubts = doubt(batch, refined.probabilities)
    for array in (batch.known, batch.plain, refined.probabilities, doubts):
        array.setflags(write=False)
    choose(batch, refined, doubts, 5)
