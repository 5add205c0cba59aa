"""Teachers beside each other: who differs where, and whom people's answers prefer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.contest import Confused, judge, most_divided, pairs_of, spread
from pipeline.evaluation.metrics import mcnemar_p, proportion
from pipeline.evaluation.sheet import Card, contact_sheet
from tests.fakes import photos

CLASSES = ("red", "green", "blue")


def test_a_sample_is_spread_evenly() -> None:
    assert spread(3, 5).tolist() == [0, 1, 2]
    assert spread(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert spread(100, 4).tolist() == [12, 37, 62, 87]
    many = spread(1_000_003, 1000)
    assert len(set(many.tolist())) == 1000 and set(np.diff(many).tolist()) <= {1000, 1001}
    assert spread(0, 5).tolist() == []


def test_pairs_agree_and_say_what_they_confuse() -> None:
    answers = np.array([[0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 1, 1], [0, 0, 1, 1, 2, 2]])
    first, same, last = pairs_of(["a", "b", "c"], answers, CLASSES)
    assert (first.first, first.second) == ("a", "b") and (last.first, last.second) == ("b", "c")
    assert first.agreement == proportion(2, 6)
    assert first.confused == (
        Confused("blue", "green", 2), Confused("red", "green", 1), Confused("green", "blue", 1),
    )  # fmt: skip
    assert same.agreement == proportion(6, 6) and same.confused == ()
    assert pairs_of(["a"], answers[:1], CLASSES) == []


def test_the_surest_differences_come_first() -> None:
    first = np.array([[0.9, 0.1], [0.6, 0.4], [0.99, 0.01], [0.5, 0.5], [0.8, 0.2]])
    second = np.array([[0.4, 0.6], [0.1, 0.9], [0.98, 0.02], [0.9, 0.1], [0.3, 0.7]])
    # The less sure of both: 0.6, 0.6, none (they agree), none, 0.7.
    assert most_divided(np.stack([first, second]), 9).tolist() == [4, 0, 1]
    assert most_divided(np.stack([first, second]), 2).tolist() == [4, 0]
    assert most_divided(np.stack([first, first]), 9).tolist() == []
    # Any two of three may differ.
    third = np.array([[0.05, 0.95]] * 5)
    assert most_divided(np.stack([first, second, third]), 1).tolist() == [2]


def answers_with(total: int, *rights: range) -> tuple[np.ndarray, np.ndarray]:
    """Answers of teachers who are right on these images and wrong on the others."""
    truth = np.zeros(total, np.int64)
    wrong = [[0 if at in right else 1 for at in range(total)] for right in rights]
    return np.array(wrong), truth


def test_a_winner_must_beat_everybody() -> None:
    answers, truth = answers_with(100, range(50), range(90), range(40, 100))
    found = judge(["a", "b", "c"], answers, truth)
    assert found.accuracy == (proportion(50, 100), proportion(90, 100), proportion(60, 100))
    assert found.winner == "b" and found.answers == 100
    assert found.sentence == (
        "b is best: right on 90 of 100 answered images, and better than every other one beyond "
        "chance (exact McNemar test, corrected for the number of pairs: p < 0.001)."
    )
    against = {(duel.first, duel.second): duel for duel in found.duels}
    assert (against["b", "c"].only_first_right, against["b", "c"].only_second_right) == (40, 10)
    # Holm: the smallest of three p-values counts three times, the next twice, the last once.
    raw = [mcnemar_p(0, 40), mcnemar_p(40, 50), mcnemar_p(40, 10)]
    assert against["a", "b"].p_value == pytest.approx(3 * raw[0])
    assert against["b", "c"].p_value == pytest.approx(2 * raw[2])
    assert against["a", "c"].p_value == pytest.approx(raw[1])


def test_corrected_p_values_do_not_fall_as_the_raw_ones_grow() -> None:
    answers, truth = answers_with(30, range(10), range(16), range(9, 25))
    duels = judge(["a", "b", "c"], answers, truth).duels
    raw = [mcnemar_p(duel.only_first_right, duel.only_second_right) for duel in duels]
    corrected = [duel.p_value for duel in duels]
    assert [corrected[at] for at in np.argsort(raw)] == sorted(corrected)
    assert all(q >= p for p, q in zip(raw, corrected, strict=True)) and max(corrected) <= 1


def test_few_answers_show_no_winner_and_say_how_many_would() -> None:
    answers, truth = answers_with(20, range(16), range(4, 17))
    found = judge(["a", "b"], answers, truth)
    # Only a: 0 to 3; only b: 16. With 4 of 5: ((1.96 + 2 * 0.842 * 0.4) / 0.6)^2 = 19.3 such
    # images, of which every fourth image is one: 77.1.
    assert found.winner is None and found.sentence == (
        "The 20 answers do not show a winner: a is right on 16, b on 13; of the 5 on which exactly "
        "one of the two is right, a has 4 (exact McNemar test, corrected for the number of pairs: "
        "p = 0.375). If it goes on like this, about 78 answers would show it."
    )


def test_as_good_as_each_other() -> None:
    answers, truth = answers_with(20, range(10), range(10, 20))
    found = judge(["a", "b"], answers, truth)
    assert found.winner is None and "b on 10; of the 20 on which" in found.sentence
    assert "goes on" not in found.sentence
    answers, truth = answers_with(1, range(1), range(1))
    assert judge(["a", "b"], answers, truth).sentence == (
        "The 1 answer does not show a winner: a and b are right on the same 1 images."
    )


def test_nobody_wins_by_the_doubts_of_another() -> None:
    answers, truth = answers_with(100, range(20), range(90))
    found = judge(["a", "b"], answers, truth, unfair_to=["a"])
    assert found.winner is None and found.duels[0].p_value < 1e-9
    assert found.sentence == (
        "b is right on 90 of 100 answered images, more than the others, but that does not make it "
        "the best: the answers are to images that were chosen by the doubts and errors of a."
    )
    # Who wins in spite of them has won.
    assert judge(["a", "b"], answers, truth, unfair_to=["b"]).winner == "b"
    assert judge(["a", "b"], answers, truth).winner == "b"


def test_nobody_answered_and_nobody_to_compare_with() -> None:
    none = judge(["a", "b"], np.empty((2, 0), np.int64), np.empty(0, np.int64))
    assert none.accuracy == (None, None) and none.winner is None and none.answers == 0
    assert "stays open" in none.sentence
    answers, truth = answers_with(9, range(9))
    alone = judge(["a"], answers, truth)
    assert alone.winner is None and alone.duels == () and "alone" in alone.sentence


def test_a_sheet_shows_pictures_with_their_words(tmp_path: Path) -> None:
    red, blue = photos(tmp_path, {"red": 1, "blue": 1})
    gone = tmp_path / "gone.png"
    lines = ("1. \x1b[31m", "жёлтый 0.98", "a very long name of a class " * 20)
    sheet = contact_sheet([Card(red, lines), Card(blue, ()), Card(gone, ("x",))], columns=2)
    half = sheet.width // 2
    assert isinstance(sheet, Image.Image) and sheet.mode == "RGB"
    pixels = np.asarray(sheet, np.int64)
    reds = (pixels[..., 0] > 150) & (pixels[..., 1] < 90)
    blues = (pixels[..., 2] > 150) & (pixels[..., 0] < 90)
    assert reds[:, :half].sum() > 100 and not reds[:, half:].any()
    assert blues[:, half:].sum() > 100 and not blues[:, :half].any()
    # The words stay within their own cell.
    text = pixels[:, half : half + 6].min(axis=2) > 150
    assert not text.any()
    assert contact_sheet([Card(red, ())]).width < half + 20
