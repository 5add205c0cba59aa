"""Every figure of an evaluation against one worked out by hand, so that no two can be exchanged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import WorkspaceError
from pipeline.evaluation.measure import measure_latency
from pipeline.evaluation.metrics import calibration_error, mcnemar_p, proportion, reliability
from pipeline.evaluation.record import Evaluation, read_evaluation
from pipeline.evaluation.wording import conclusion, summary, summary_rows
from pipeline.records import Predictor
from tests.evaluations import by_hand, compare, evaluation_with, latency

ABC = ("a", "b", "c")
#        truth     a  a  a  b  b  c  c  c
TRUTH = [0, 0, 0, 1, 1, 2, 2, 2]
TEACHER = [0, 0, 1, 1, 0, 2, 0, 1], [0.9, 0.8, 0.95, 0.7, 0.6, 0.9, 0.55, 0.5]
STUDENT = [0, 0, 0, 1, 1, 2, 2, 1], [0.8, 0.9, 0.7, 0.6, 0.9, 0.85, 0.5, 0.75]


def figures(truth: list[int] | None = TRUTH, **options: Any) -> dict[str, Any]:
    sides = {"teacher": TEACHER, "student": STUDENT}
    return by_hand(ABC, truth, sides, {"a": 2, "b": 5, "c": 1}, **options).as_json()


def test_accuracy_agreement_and_who_alone_is_right() -> None:
    found = figures()
    assert found["teacher"]["accuracy"]["value"] == 4 / 8
    assert found["student"]["accuracy"]["value"] == 7 / 8
    assert found["student"]["agreement"]["value"] == 5 / 8
    assert found["teacher"]["agreement"] is None
    compared = found["comparison"]
    assert (compared["only_teacher_right"], compared["only_student_right"]) == (0, 3)
    assert compared["p_value"] == pytest.approx(2 * 1 / 2**3)
    assert found["student"]["comparison"] == compared
    assert found["held_out"] == {
        "source": "by hand", "images": 8, "has_truth": True, "excluded": {"too odd": 2},
    }  # fmt: skip


def test_matrices_have_the_truth_or_the_teacher_in_their_rows() -> None:
    found = figures()
    assert found["teacher"]["confusion"] == [[2, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert found["student"]["confusion"] == [[3, 0, 0], [0, 2, 0], [0, 1, 2]]
    assert found["student"]["agreement_matrix"] == [[2, 1, 1], [1, 2, 0], [0, 0, 1]]
    assert found["teacher"]["answers"] == {"a": 4, "b": 3, "c": 1}
    per_class = found["teacher"]["per_class"]
    assert per_class["a"] == {
        "precision": 2 / 4, "recall": 2 / 3, "f1": pytest.approx(4 / 7), "support": 3,
    }  # fmt: skip
    assert per_class["c"]["precision"] == 1.0 and per_class["c"]["recall"] == 1 / 3
    assert found["teacher"]["macro_f1"] == pytest.approx((4 / 7 + 2 / 5 + 2 / 4) / 3)


def test_calibration_is_that_of_the_answers_given() -> None:
    found = figures()
    right = np.array(TEACHER[0]) == np.array(TRUTH)
    assert found["teacher"]["calibration_error"] == pytest.approx(
        calibration_error(np.float32(TEACHER[1]), right), abs=1e-6
    )
    # By hand: three bins, of which the middle one is empty.
    sure, correct = [0.2, 0.3, 0.9, 0.8], [True, False, True, True]
    assert calibration_error(sure, correct, bins=3) == pytest.approx(
        2 / 4 * abs(0.5 - 0.25) + 2 / 4 * abs(1.0 - 0.85)
    )
    # A bin holds its upper edge, not its lower one; the first holds 0, too.
    edges = reliability([0.0, 0.5, 0.500001, 1.0], [1, 0, 1, 1], bins=2)
    assert [(one.n, one.low, one.high) for one in edges] == [(2, 0.0, 0.5), (2, 0.5, 1.0)]
    assert edges[0].accuracy == 0.5 and edges[1].confidence == pytest.approx(0.7500005)


def test_chance_names_the_commonest_class_of_the_training_labels() -> None:
    found = figures()["chance"]
    assert found["name"] == "always 'b'"
    assert found["accuracy"]["value"] == 2 / 8 and found["agreement"]["value"] == 3 / 8
    assert found["uniform"] == pytest.approx(1 / 3)
    assert found["answers"] == {"a": 0, "b": 8, "c": 0}
    # It is as sure as the class is common: 5 of 8 labels.
    assert found["calibration_error"] == pytest.approx(5 / 8 - 2 / 8)
    nothing = by_hand(ABC, TRUTH, {"teacher": TEACHER, "student": STUDENT}).as_json()["chance"]
    assert nothing["name"] == "always 'a'" and nothing["accuracy"]["value"] == 3 / 8


def test_speeds_are_not_exchanged() -> None:
    found = figures()
    slow, fast = latency(40.0), latency(8.0)
    for side, given in (("teacher", slow), ("student", fast)):
        assert found[side]["latency_ms"]["end_to_end"] == vars(given.end_to_end)
        assert found[side]["latency_ms"]["model_only"] == vars(given.model_only)
        assert found[side]["throughput"] == given.throughput
        assert found[side]["throughput_model_only"] == given.throughput_model_only
        assert found[side]["device"] == given.device
        assert found[side]["measured_with"] == {
            "images": 8, "batch": 4, "threads": 3, "decode_threads": 2,
        }  # fmt: skip
    assert found["comparison"]["speedup"] == {
        "end_to_end": pytest.approx(5.0), "model_only": pytest.approx(5.0),
        "throughput": pytest.approx(5.0),
    }  # fmt: skip
    whole = replace(fast, model_only=replace(fast.model_only, median=5.0), throughput=85.0)
    assert whole.as_json()["latency_ms"]["model_only"]["median"] == 5.0
    assert type(fast).from_json(fast.as_json()) == fast


def test_disagreements_begin_with_the_surest_wrong_answer() -> None:
    cases = figures(disagreements=3)["disagreements"]
    assert [case["id"] for case in cases] == ["id 2", "id 7", "id 4"]
    assert cases[1] == {
        "id": "id 7", "path": "/7.jpg", "truth": "c", "teacher": "b", "student": "b",
        "teacher_confidence": pytest.approx(0.5), "student_confidence": pytest.approx(0.75),
    }  # fmt: skip
    assert len(figures()["disagreements"]) == 4
    # Without truth the less sure of the two counts, and two of one mind do not disagree.
    cases = figures(truth=None)["disagreements"]
    assert [case["id"] for case in cases] == ["id 2", "id 4", "id 6"]
    assert cases[0]["truth"] is None


def test_without_truth_there_is_no_accuracy_anywhere() -> None:
    found = figures(truth=None)
    for side in ("teacher", "student", "chance"):
        for part in ("accuracy", "macro_f1", "calibration_error", "per_class", "confusion"):
            assert found[side][part] is None
    compared = found["comparison"]
    assert (compared["p_value"], compared["only_teacher_right"]) == (None, None)
    assert found["student"]["agreement"]["value"] == 5 / 8


def test_a_member_is_compared_with_the_common_answer_and_the_truth() -> None:
    from pipeline.evaluation.assess import Alone
    from tests.evaluations import said

    alone = Alone("the second", 0.25, said(ABC, [0, 1, 1, 1, 0, 2, 0, 2], [0.9] * 8))
    (member,) = figures(members=[alone])["teachers"]
    assert (member["name"], member["weight"]) == ("the second", 0.25)
    assert member["agreement"]["value"] == 6 / 8  # with the teacher; with the student it is 4 / 8
    assert member["accuracy"]["value"] == 4 / 8


def test_whoever_joins_stands_beside_the_two() -> None:
    third = [0, 0, 0, 1, 1, 2, 1, 1], [0.6] * 8
    sides = {"teacher": TEACHER, "student": STUDENT, "onnx": third}
    evaluation = by_hand(ABC, TRUTH, sides)
    assert [one.kind for one in evaluation.contenders] == ["teacher", "student", "onnx"]
    joined = evaluation.contenders[2]
    assert joined.comparison is not None and joined.comparison.speedup.end_to_end == 20.0
    assert joined.comparison.only_student_right == 2 and joined.accuracy is not None
    assert [row[3] for row in summary_rows(evaluation)[:2]] == ["onnx", "75.0 %"]
    known = evaluation.as_json()
    kinds = [one["kind"] for one in known["contenders"]]
    assert kinds == ["teacher", "student", "onnx", "chance"]
    assert known["contenders"][3] == {"kind": "chance", **known["chance"]}
    assert known["contenders"][0] == known["teacher"]
    assert known["contenders"][1] == known["student"]


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    for evaluation in (compare(tmp_path), evaluation_with(0.9, behind=(-0.02, -0.04, 0.01))):
        known = json.loads(json.dumps(evaluation.as_json(), allow_nan=False))
        assert Evaluation.from_json(known).as_json() == known


@pytest.mark.parametrize("change", [
    lambda known: known.pop("contenders"),
    lambda known: known.update(format=1),
    lambda known: known["contenders"][0].update(parameters="many"),
    lambda known: known["contenders"][1].pop("latency_ms"),
])  # fmt: skip
def test_a_damaged_evaluation_is_one_sentence(tmp_path: Path, change: Any) -> None:
    known = compare(tmp_path).as_json()
    change(known)
    file = tmp_path / "evaluation.json"
    with pytest.raises(WorkspaceError, match="is not there"):
        read_evaluation(file)
    file.write_text(json.dumps(known))
    with pytest.raises(WorkspaceError, match="Delete it and run `clip2yolo evaluate` again"):
        read_evaluation(file)


class Clock:
    """Time that passes only where somebody says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow(Predictor):
    """A predictor who takes a given time for each picture, and notes when it was asked."""

    parameters = 1
    file_bytes: int | None = None
    device = "cpu"
    classes = ("a", "b")

    def __init__(
        self, name: str, clock: Clock, log: list[str], prepare: float, predict: Sequence[float]
    ) -> None:
        self.name, self._clock, self._log = name, clock, log
        self._prepare, self._predict, self._asked = prepare, predict, 0

    def prepare(self, image: Image.Image) -> np.ndarray:
        self._clock.now += self._prepare
        return np.zeros(3, np.float32)

    def predict(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        if len(batch) == 1:
            self._log.append(self.name)
            self._clock.now += self._predict[self._asked % len(self._predict)]
            self._asked += 1
        else:
            self._log.append(f"{self.name}*{len(batch)}")
            self._clock.now += 0.001 * len(batch) * self._predict[-1]
        return np.full((len(batch), 2), 0.5, np.float32)


def test_times_are_medians_and_percentiles_of_single_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, log = Clock(), []
    monkeypatch.setattr("time.perf_counter", clock)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    encoded = [(tmp_path / "a.png").read_bytes()] * 100
    # The first three calls of each warm up, and one before each that is timed: were they counted,
    # the greatest would be 9 s.
    warm = [9.0, 9.0, 9.0]
    rising = [seconds for n in range(1, 101) for seconds in (9.0, n / 1000)]
    first = Slow("first", clock, log, 0.5, [*warm, *rising, 2.0])
    second = Slow("second", clock, log, 0.25, [*warm, *([9.0, 0.02] * 100), 1.0])
    one, other = measure_latency([first, second], encoded, [4, 10])
    assert one.model_only.median == pytest.approx(50.5)
    assert one.model_only.p90 == pytest.approx(90.1) and one.model_only.p99 == pytest.approx(99.01)
    assert one.end_to_end.median == pytest.approx(550.5)
    assert one.end_to_end.p99 == pytest.approx(599.01)
    assert other.model_only.median == other.model_only.p99 == pytest.approx(20.0)
    assert other.end_to_end.median == pytest.approx(270.0)
    # By turns, image by image, so that a machine that slows down slows both alike; each turn is a
    # call that is not timed and one that is.
    singles = [name for name in log if "*" not in name]
    assert singles == ["first", "second"] * 3 + ["first", "first", "second", "second"] * 100
    # Ten prepared images at 0.002 s each make 500 a second.
    assert one.throughput_model_only == pytest.approx(500.0)
    assert other.throughput_model_only == pytest.approx(1000.0)
    assert (one.images, one.batch) == (100, 10)
    # 4 at 0.5 s to prepare and 0.008 s to answer; then 10 at 0.5 s and 0.02 s.
    assert one.throughput_by_batch == {
        "4": pytest.approx(4 / 2.008, abs=1e-3),
        "10": one.throughput,
    }
    assert one.throughput == pytest.approx(10 / 5.02, abs=1e-3)
    # They take turns with every size of batches, in every round.
    turns = ["first*4", "second*4", "first*10", "second*10", "first*10", "second*10"]
    assert [name for name in log if "*" in name] == turns * 3


def test_intervals_and_p_values_by_hand() -> None:
    ninety = proportion(9, 10)
    assert ninety is not None
    assert (ninety.low, ninety.high) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    none, all_of_them = proportion(0, 5), proportion(5, 5)
    assert proportion(0, 0) is None and none is not None and all_of_them is not None
    assert none.low == 0.0 and all_of_them.high == 1.0
    assert mcnemar_p(0, 0) == mcnemar_p(3, 3) == 1.0
    assert mcnemar_p(1, 6) == mcnemar_p(6, 1) == pytest.approx(2 * (1 + 7) / 2**7)
    assert mcnemar_p(0, 5) == pytest.approx(2 / 32)
    assert mcnemar_p(2, 8) == pytest.approx(2 * (1 + 10 + 45) / 2**10)


def test_the_conclusion_names_a_winner_only_below_five_percent() -> None:
    plain = evaluation_with(0.9)

    def told(p_value: float, student: int, teacher: int, ratio: float = 6.0) -> str:
        speedup = replace(plain.comparison.speedup, end_to_end=ratio)
        compared = replace(
            plain.comparison, p_value=p_value, only_student_right=student,
            only_teacher_right=teacher, speedup=speedup,
        )  # fmt: skip
        student_ = replace(plain.student, comparison=compared)
        return conclusion(replace(plain, contenders=[plain.teacher, student_]))

    assert "do not show which" in told(0.05, 9, 1)
    assert "The student is the better" in told(0.0499, 9, 1)
    assert "The teacher is the better" in told(0.0499, 1, 9)
    assert "p < 0.001" in told(0.0009, 9, 1) and "p = 0.001" in told(0.001, 9, 1)
    assert "6.0 times as fast as the teacher" in told(0.5, 1, 1)
    assert "1.0 times as fast as" in told(0.5, 1, 1, 1.0)
    assert "2.0 times slower than the teacher" in told(0.5, 1, 1, 0.5)
    assert "(8.0 against 40.0 ms, on device 8)" in told(0.5, 1, 1)


def test_columns_stand_under_their_heads() -> None:
    rows = summary_rows(by_hand(ABC, TRUTH, {"teacher": TEACHER, "student": STUDENT}))
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name[""] == ["teacher", "student", "chance"]
    assert by_name["accuracy"] == ["50.0 %", "87.5 %", "37.5 %"]
    assert by_name["agreement with teacher"] == ["", "62.5 %", "50.0 %"]
    assert by_name["ms an image, end to end, median"] == ["40.00", "8.00", ""]
    assert by_name["ms an image, end to end, p90"] == ["44.00", "8.80", ""]
    assert by_name["ms an image, model only, p99"] == [f"{40 / 3.1:.2f}", f"{8 / 3.1:.2f}", ""]
    assert by_name["images a second, batched"] == ["42", "212", ""]
    assert by_name["file size"] == ["–", "–", ""]
    low, high = by_name["  95 % interval"][1].removesuffix(" %").split("–")
    assert float(low) < 87.5 < float(high)
    assert summary(evaluation_with(0.9)) == "student 90.0 %, teacher 100.0 %, 6.0 times as fast"
    assert summary(by_hand(ABC, None, {"teacher": TEACHER, "student": STUDENT})).startswith(
        "student agrees on 62.5 %, 5.0 times"
    )
