"""The chart of the report: where contenders stand, and that no label covers another."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.metrics import Proportion, proportion
from pipeline.evaluation.report.chart import NARROW, WIDE, Chart, Shape, draw_chart
from pipeline.evaluation.report.rows import Row, rows_of
from tests.evaluations import by_hand, evaluation_with, latency
from tests.full_evaluation import everything

TEACHER, STUDENT = evaluation_with().contenders


def row(name: str, median: float, right: int | None, n: int = 400, kind: str = "export") -> Row:
    timed = replace(STUDENT, latency=latency(median))
    share = None if right is None else proportion(right, n)
    return Row(name, kind, "", share, None, None, None, timed)


def chart(rows: list[Row], chance: float | None = None, shape: Shape = WIDE) -> Chart:
    known = None if chance is None else Proportion(chance, chance, chance, 400)
    return draw_chart(rows, known, "accuracy", shape)


def test_faster_is_further_left_and_better_is_higher() -> None:
    drawn = chart([row("slow", 40.0, 300, kind="teacher"), row("fast", 4.0, 380)])
    slow, fast = drawn.points
    assert fast.x < slow.x and fast.y < slow.y
    for point in drawn.points:
        assert point.top < point.y < point.bottom
        assert drawn.frame.left < point.x < drawn.frame.right
        assert drawn.frame.top <= point.top and point.bottom <= drawn.frame.bottom
    # The axis is logarithmic: twice as long is as far anywhere.
    at = {tick.text: tick.at for tick in drawn.times}
    assert at["10 ms"] - at["5 ms"] == pytest.approx(at["20 ms"] - at["10 ms"], abs=0.2)


def test_chance_is_a_line_or_a_sentence() -> None:
    rows = [row("one", 4.0, 360), row("other", 8.0, 240)]
    near, far = chart(rows, 0.5), chart(rows, 0.01)
    assert near.chance and near.chance.text == "chance 50.0 %" and near.below == ""
    assert near.points[1].bottom < near.chance.at < near.frame.bottom
    assert far.chance is None and far.below == "Chance, 1.0 %, is below this axis."
    # Everybody else can still be told apart.
    assert far.points[1].y - far.points[0].y > 100


def test_without_truth_the_teacher_is_an_upright_line() -> None:
    answers = {"teacher": ([0, 1, 1], [0.9] * 3), "student": ([0, 1, 0], [0.9] * 3)}
    rows = rows_of(by_hand(("a", "b"), None, answers))
    drawn = chart(rows[:-1])
    assert [line.text for line in drawn.upright] == ["the teacher"]
    assert [point.row.name for point in drawn.points] == ["the student"]
    assert drawn.points[0].number == 2  # as in every list of them


def test_many_or_little_room_have_numbers() -> None:
    rows = [row(f"contender {number}", 2.0 + number, 300 + number) for number in range(20)]
    assert chart(rows).numbered and not chart(rows[:8]).numbered
    narrow = chart(rows[:8], shape=NARROW)
    assert [point.text for point in narrow.points] == [str(number) for number in range(1, 9)]


def test_extremes_can_be_drawn() -> None:
    alike = [row("a", 3.0, 400), row("b", 3.0, 400)]
    for rows in (alike, [row("a", 0.004, 0)], [row("a", 0.2, 1), row("b", 90_000.0, 399)]):
        for shape in (WIDE, NARROW):
            drawn = chart(rows, 0.25, shape)
            written = [tick.text for tick in drawn.times if tick.text]
            assert 1 <= len(written) <= 12 and 2 <= len(drawn.shares) <= 8
            assert all(drawn.frame.left <= tick.at <= drawn.frame.right for tick in drawn.times)


CONTENDERS = st.lists(
    st.tuples(
        st.floats(0.5, 200.0), st.integers(200, 400), st.text("aW1- ", min_size=1, max_size=14)
    ),
    min_size=1,
    max_size=9,
)


@given(CONTENDERS, st.sampled_from([WIDE, NARROW]))
@settings(max_examples=40, deadline=None)
def test_no_label_covers_another_or_leaves_the_frame(
    some: list[tuple[float, int, str]], shape: Shape
) -> None:
    drawn = chart([row(name, time, right) for time, right, name in some], 0.4, shape)
    boxes = [point.label.box for point in drawn.points]
    assert all(drawn.frame.holds(box) for box in boxes)
    assert all(one.covers(other) == 0 for one, other in combinations(boxes, 2))


def test_the_rows_are_all_contenders_and_chance(tmp_path: Path) -> None:
    rows = rows_of(everything([tmp_path / "gone.jpg"] * 30, ("a", "b")))
    assert [row.kind for row in rows] == ["teacher", "student", *["export"] * 5, "chance"]
    assert rows[-1].latency is None and rows[2].name == "onnx fp32"
