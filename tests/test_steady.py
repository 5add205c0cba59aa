"""Yesterday's labels stand unless what speaks against them today is clear."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import WorkspaceError
from pipeline.labels.decide import label_table
from pipeline.labels.steady import Earlier, changed_sentence, hold, moved_since
from pipeline.labels.verdicts import Verdicts
from pipeline.records import write_table
from tests.fakes import verdicts_of

CLASSES = ("cat", "dog", "none")


def earlier_of(folder: Path, ids: list[str], verdicts: Verdicts) -> Earlier:
    """Yesterday's labels.parquet, written and read."""
    file = folder / "labels.parquet"
    write_table(file, label_table(ids, [f"/p/{one}.jpg" for one in ids], verdicts))
    return Earlier.read(file)


def held(
    folder: Path, then: list[list[float]], now: list[list[float]], **options: float
) -> Verdicts:
    ids = [f"id{row}" for row in range(len(now))]
    earlier = earlier_of(folder, ids[: len(then)], verdicts_of(then, CLASSES, **options))
    return hold(verdicts_of(now, CLASSES, **options), pl.Series(ids), earlier)


def test_a_label_moves_only_where_the_new_class_is_clearly_better(tmp_path: Path) -> None:
    then = [[0.8, 0.15, 0.05]] * 4
    now = [
        [0.40, 0.55, 0.05],  # log-odds 0.32 in favour of the dog
        [0.27, 0.70, 0.03],  # 0.95
        [0.25, 0.70, 0.05],  # 1.03
        [0.70, 0.20, 0.10],  # the same class: today's figures
    ]
    verdicts = held(tmp_path, then, now)
    assert verdicts.kept.tolist() == [True, True, False, False]
    assert verdicts.guess.tolist() == [0, 0, 1, 0]
    assert verdicts.probabilities[:2] == pytest.approx(np.array(then[:2]))
    assert verdicts.probabilities[2:] == pytest.approx(np.array(now[2:]))
    table = label_table(list("abcd"), list("abcd"), verdicts)
    assert table["class"].to_list() == ["cat", "cat", "dog", "cat"]
    assert table["reason"][0] == "Labeled so before, and what speaks against it now is not clear."
    assert table["confidence"].to_list() == pytest.approx([0.8, 0.8, 0.7, 0.7])


def test_a_label_is_not_lost_for_a_little_less_confidence(tmp_path: Path) -> None:
    then = [[0.62, 0.3, 0.08], [0.62, 0.3, 0.08], [0.45, 0.35, 0.2]]
    now = [
        [0.48, 0.4, 0.12],  # below 0.5 now, 0.57 less in log-odds
        [0.36, 0.34, 0.3],  # 1.07 less
        [0.3, 0.45, 0.25],  # it abstained: nothing to hold
    ]
    verdicts = held(tmp_path, then, now)
    assert verdicts.kept.tolist() == [True, False, False]
    table = label_table(list("abc"), list("abc"), verdicts)
    assert table["class"].to_list() == ["cat", None, None]
    assert table["guess"].to_list() == ["cat", "cat", "dog"]


def test_many_small_steps_are_a_large_one_in_the_end(tmp_path: Path) -> None:
    """Evidence is compared with that of the day of the label, or a label would creep away or stay
    for ever."""
    ids, share = pl.Series(["a"]), 0.7
    earlier = earlier_of(tmp_path, ["a"], verdicts_of([[0.7, 0.3, 0.0]], CLASSES))
    days = 0
    while True:
        share -= 0.04
        today = verdicts_of([[share, 1 - share, 0.0]], CLASSES)
        verdicts = hold(today, ids, earlier)
        days += 1
        if verdicts.guess[0] == 1:
            break
        earlier = earlier_of(tmp_path, ["a"], verdicts)
    assert np.log((1 - share) / share) >= 1 and days == 11


def test_what_a_person_decides_and_what_is_new_is_not_held(tmp_path: Path) -> None:
    then, now = [[0.8, 0.2, 0.0], [0.8, 0.2, 0.0]], [[0.45, 0.55, 0.0]] * 3
    ids = ["a", "b", "c"]
    earlier = earlier_of(tmp_path, ids[:2], verdicts_of(then, CLASSES))
    today = verdicts_of(now, CLASSES, {1: "none"})
    verdicts = hold(today, pl.Series(ids), earlier)
    assert verdicts.kept.tolist() == [True, False, False]
    table = label_table(ids, ids, verdicts)
    assert table["class"].to_list() == ["cat", "none", "dog"]


def test_an_image_that_just_became_unlike_keeps_its_label(tmp_path: Path) -> None:
    earlier = earlier_of(tmp_path, ["a", "b"], verdicts_of([[0.9, 0.1, 0.0]] * 2, CLASSES))
    unlike = np.array([0.85, 0.99], np.float32)
    today = replace(verdicts_of([[0.9, 0.1, 0.0]] * 2, CLASSES), unlike=unlike, limit=0.8)
    verdicts = hold(today, pl.Series(["a", "b"]), earlier)
    table = label_table(["a", "b"], ["a", "b"], verdicts)
    assert table["decision"].to_list() == ["accepted", "abstained"]
    assert (
        table["reason"][1] == "It fits no class: unlike 0.990, from 0.8 on images are turned away."
    )
    assert verdicts.rejected == 1


rows = st.lists(st.tuples(*[st.integers(0, 50)] * 3).filter(any), min_size=1, max_size=12).map(
    lambda found: np.array(found, float) / np.sum(found, axis=1, keepdims=True)
)


@given(rows, st.data())
def test_holding_changes_no_row_but_those_it_names(
    tmp_path_factory: pytest.TempPathFactory, then: np.ndarray, data: st.DataObject
) -> None:
    now = data.draw(rows.filter(lambda found: len(found) >= 1))
    n = min(len(then), len(now))
    folder = tmp_path_factory.mktemp("held")
    verdicts = held(folder, then[:n].tolist(), now[:n].tolist())
    today = verdicts_of(now[:n], CLASSES)
    assert np.array_equal(
        verdicts.probabilities[~verdicts.kept], today.probabilities[~verdicts.kept]
    )
    kept = verdicts.probabilities[verdicts.kept]
    assert np.array_equal(kept, then[:n][verdicts.kept].astype(np.float32))
    # The same day again changes nothing at all.
    again = held(folder, now[:n].tolist(), now[:n].tolist())
    assert not again.kept.any() and np.array_equal(again.probabilities, today.probabilities)


def test_moved_labels_are_counted_where_there_was_a_label_and_nobody_decided(
    tmp_path: Path,
) -> None:
    ids = list("abcde")
    then = verdicts_of([[0.9, 0.1, 0], [0.9, 0.1, 0], [0.9, 0.1, 0], [0.4, 0.3, 0.3],
                        [0.9, 0.1, 0]], CLASSES)  # fmt: skip
    earlier = earlier_of(tmp_path, ids, then)
    now = verdicts_of([[0.1, 0.9, 0], [0.4, 0.3, 0.3], [0.9, 0.1, 0], [0.9, 0.1, 0]], CLASSES,
                      {2: "none"})  # fmt: skip
    table = label_table(ids[:4], ids[:4], now)
    # a is a dog now, b abstains, c was decided, d had no label, e is gone.
    assert moved_since(table, earlier) == (2, 2)


@pytest.mark.parametrize(("changed", "before", "alike", "words"), [
    (3, 100, True, "3 of 100 earlier labels moved (3.0%), by what the new images show."),
    (6, 100, True, "6 of 100 earlier labels moved (6.0%), though nothing but images is new."),
    (6, 100, False, "6 of 100 earlier labels moved (6.0%): prompts, teacher, settings"),
])  # fmt: skip
def test_the_sentence_says_why_labels_moved(
    changed: int, before: int, alike: bool, words: str
) -> None:
    assert changed_sentence(changed, before, alike).startswith(words)


def test_labels_that_are_damaged_are_named(tmp_path: Path) -> None:
    (tmp_path / "labels.parquet").write_bytes(b"PAR1")
    with pytest.raises(WorkspaceError, match=r"labels\.parquet cannot be read"):
        Earlier.read(tmp_path / "labels.parquet")
