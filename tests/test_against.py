"""Two students compared: counts, shares, tests and intervals that were worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.errors import SourceError, WorkspaceError
from pipeline.evaluation.against import ANSWERS, Against, Difference, against, read_answers


def compare(new: pl.DataFrame, old: pl.DataFrame, seed: int = 0) -> dict[str, Any]:
    return against(new, old, seed).as_json()


def answers(*blocks: tuple[int, str | None, str, str], first: int = 0) -> pl.DataFrame:
    """A table of answers from blocks of (count, truth, teacher, student), numbered on."""
    rows = [block[1:] for block in blocks for _ in range(block[0])]
    return pl.DataFrame(
        [(f"{number:064x}", *row, 0.9) for number, row in enumerate(rows, first)],
        schema=ANSWERS,
        orient="row",
    )


def judged(*blocks: tuple[int, bool], first: int = 0) -> pl.DataFrame:
    """Answers on images that a person labeled, from blocks of (count, right)."""
    sides = ((count, "a", "b", "a" if right else "b") for count, right in blocks)
    return answers(*sides, first=first)


def test_pairs_are_counted_and_tested() -> None:
    # Both right on 5 images, only the new one on 3, only the old one on 1, neither on 1.
    new = judged((5, True), (3, True), (1, False), (1, False))
    old = judged((5, True), (3, False), (1, True), (1, False))
    found = compare(new, old.reverse())  # the id says which image it is, not the row
    assert (found["measure"], found["paired"], found["images"]) == ("accuracy", True, 10)
    assert (found["new"], found["old"]) == (0.8, 0.6)
    assert (found["only_new_right"], found["only_old_right"]) == (3, 1)
    # Of 4 images 1 or fewer: (1 + 4) / 16, and as much on the other side.
    assert found["p_value"] == pytest.approx(0.625)
    assert found["difference"]["value"] == pytest.approx(0.2)
    assert found["difference"]["low"] < 0.2 < found["difference"]["high"]
    other_way = compare(old, new)
    assert (other_way["only_new_right"], other_way["only_old_right"]) == (1, 3)
    assert other_way["difference"]["value"] == pytest.approx(-0.2)


def test_only_images_that_both_saw_are_paired() -> None:
    new = judged((30, True), (10, False))
    old = judged((4, False), (6, True), first=30)  # the new one is wrong on all of these
    found = compare(new, old)
    assert (found["paired"], found["images"]) == (True, 10)
    assert (found["new"], found["old"]) == (0.0, 0.6)
    assert (found["only_new_right"], found["only_old_right"]) == (0, 6)


def test_the_interval_of_pairs_is_the_textbooks() -> None:
    # 240 gained, 120 lost of 2,000: the difference is 0.06 and its variance
    # (0.12 + 0.06 - 0.06 ** 2) / 2000.
    new = judged((1400, True), (240, True), (120, False), (240, False))
    old = judged((1400, True), (240, False), (120, True), (240, False))
    found = compare(new, old)["difference"]
    spread = 1.96 * math.sqrt((0.12 + 0.06 - 0.06**2) / 2000)
    assert found["value"] == pytest.approx(0.06)
    assert found["low"] == pytest.approx(0.06 - spread, abs=0.0015)
    assert found["high"] == pytest.approx(0.06 + spread, abs=0.0015)
    # The same resampling unless another one is asked for.
    assert [compare(new, old)["difference"] for _ in range(9)] == [found] * 9
    assert any(compare(new, old, seed=seed)["difference"] != found for seed in range(1, 10))


def test_different_images_are_resampled_apart() -> None:
    new = judged((320, True), (80, False))
    old = judged((60, True), (40, False), first=1000)
    found = compare(new, old)
    assert (found["paired"], found["images"]) == (False, 400)
    assert (found["new"], found["old"]) == (0.8, 0.6)
    assert found["only_new_right"] is found["only_old_right"] is found["p_value"] is None
    spread = 1.96 * math.sqrt(0.8 * 0.2 / 400 + 0.6 * 0.4 / 100)
    assert found["difference"]["value"] == pytest.approx(0.2)
    assert found["difference"]["low"] == pytest.approx(0.2 - spread, abs=0.01)
    assert found["difference"]["high"] == pytest.approx(0.2 + spread, abs=0.01)


def test_truth_on_one_side_only_is_agreement_on_both() -> None:
    # Held against the truth the new one would be right on 1 of 4, against the teacher on 3 of 4.
    with_truth = answers((3, "a", "b", "b"), (1, "a", "b", "a"))
    without = answers((2, None, "b", "b"), (2, None, "b", "a"))
    for found, new, old in (
        (compare(with_truth, without), 0.75, 0.5),
        (compare(without, with_truth), 0.5, 0.75),
    ):
        assert (found["measure"], found["images"]) == ("agreement", 4)
        assert (found["new"], found["old"]) == (new, old)


def test_accuracy_counts_only_what_a_person_labeled() -> None:
    # The teacher errs on the labeled ones; the others are left out, whatever was said of them.
    new = answers((3, "a", "b", "a"), (1, "a", "b", "b"), (6, None, "b", "b"))
    old = answers((2, "a", "b", "a"), (2, "a", "b", "b"), (6, None, "b", "a"))
    found = compare(new, old)
    assert (found["measure"], found["images"]) == ("accuracy", 4)
    assert (found["new"], found["old"]) == (0.75, 0.5)
    assert (found["only_new_right"], found["only_old_right"]) == (1, 0)


def words(**changed: Any) -> str:
    found = {
        "measure": "accuracy", "paired": True, "images": 1200, "new": 0.9, "old": 0.875,
        "only_new_right": 40, "only_old_right": 10, "p_value": 0.0625,
        "difference": {"value": 0.025, "low": -0.0125, "high": 0.05},
    }  # fmt: skip
    difference = Difference(**found.pop("difference"))  # type: ignore[arg-type]
    return Against(**found | changed, difference=difference).sentence


def test_a_comparison_in_words() -> None:
    assert words() == (
        "On the same 1,200 images the new student is right on 90.0%, the earlier one on 87.5%: "
        "+2.5 points (-1.2 to +5.0 with 95 % confidence; exact McNemar test: p = 0.062)."
    )
    assert words(measure="agreement").startswith(
        "On the same 1,200 images the new student is of one mind with the teacher on 90.0%"
    )
    apart = words(paired=False, p_value=None, only_new_right=None, only_old_right=None)
    assert apart.startswith("On different images the new student is right on")
    assert apart.endswith("(-1.2 to +5.0 with 95 % confidence; not paired).")
    assert words(p_value=0.0009).endswith("p < 0.001).")
    assert words(p_value=0.001).endswith("p = 0.001).")


def test_answers_are_found_from_a_folder_and_from_a_file_in_it(tmp_path: Path) -> None:
    given = judged((2, True))
    given.write_parquet(tmp_path / "answers.parquet")
    (tmp_path / "report.html").touch()
    for place in (tmp_path, tmp_path / "report.html", tmp_path / "answers.parquet"):
        assert read_answers(place).equals(given)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"empty holds no answers\.parquet"):
        read_answers(tmp_path / "empty")
    given.drop("truth").write_parquet(tmp_path / "answers.parquet")
    with pytest.raises(WorkspaceError, match="clip2yolo evaluate"):
        read_answers(tmp_path)
