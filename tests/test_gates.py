"""Gates: which figure each one reads, what the limit means at its very edge, and what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import GateError
from pipeline.evaluation.gates import check_gates
from pipeline.evaluation.gates import raise_failed as raise_failed_ones
from pipeline.evaluation.metrics import Proportion
from pipeline.evaluation.record import GateResult, Speedup
from pipeline.values import parse_limit
from tests.evaluations import evaluation_with

Figure = tuple[float, float, float]


def figure(value: Figure | None) -> Proportion | None:
    return None if value is None else Proportion(*value, 400)


def gates(limits: dict[str, str], *, behind: Figure | None = None,
          accuracy: Figure | None = (0.8, 0.7, 0.9), agreement: Figure = (0.6, 0.5, 0.65),
          speedup: float = 6.0) -> list[dict[str, Any]]:  # fmt: skip
    """Check gates on an evaluation with these figures; `behind` is new minus old."""
    plain = evaluation_with(0.5, behind=behind)
    # What another figure was taken from by mistake would be far away.
    speeds = replace(plain.comparison, speedup=Speedup(speedup, speedup * 10, 0.1))
    student = replace(
        plain.student, accuracy=figure(accuracy), agreement=figure(agreement), comparison=speeds
    )
    evaluation = replace(plain, contenders=[plain.teacher, student])
    read = [parse_limit(name, text) for name, text in limits.items()]
    return [vars(found) for found in check_gates(read, evaluation)]


def raise_failed(found: list[dict[str, Any]], report: Path) -> None:
    raise_failed_ones([GateResult(**one) for one in found], report)


def gate(name: str, limit: str, **figures: Any) -> dict[str, Any]:
    (found,) = gates({name: limit}, **figures)
    return found


@pytest.mark.parametrize("name, limit, value, low, high, sentence", [
    ("accuracy", ">= 0.5", 0.8, 0.7, 0.9,
     "It is 80.0 %; with 95 % confidence 70.0 % to 90.0 %."),
    ("agreement", ">= 0.25", 0.6, 0.5, 0.65,
     "It is 60.0 %; with 95 % confidence 50.0 % to 65.0 %."),
    ("speedup", "> 2.5", 6.0, None, None, "It is 6.0."),
    # Four points behind, from one point ahead to seven behind.
    ("regression", "<= 0.1", 0.04, -0.01, 0.07,
     "It is 4.0 %; with 95 % confidence -1.0 % to 7.0 %."),
])  # fmt: skip
def test_each_gate_reads_its_own_figure(
    name: str, limit: str, value: float, low: float | None, high: float | None, sentence: str
) -> None:
    assert gate(name, limit, behind=(-0.04, -0.07, 0.01)) == {
        "gate": name, "limit": limit, "value": value, "low": low, "high": high,
        "passed": True, "sentence": sentence,
    }  # fmt: skip


def test_gates_come_in_the_configs_order_and_each_is_judged_by_itself() -> None:
    found = gates({"speedup": ">= 8", "accuracy": ">= 0.75", "agreement": ">= 0.75"})
    assert [(one["gate"], one["passed"]) for one in found] == [
        ("speedup", False), ("accuracy", True), ("agreement", False),
    ]  # fmt: skip


@pytest.mark.parametrize("name, limit, below, exactly, above", [
    ("accuracy", ">= 0.5", False, True, True),
    ("accuracy", "> 0.5", False, False, True),
    ("agreement", ">= 50%", False, True, True),
    ("agreement", ">50 %", False, False, True),
    ("speedup", ">= 0.5", False, True, True),
    ("speedup", "> 50%", False, False, True),
    ("regression", "<= 0.5", True, True, False),
    ("regression", "< 50.0%", True, False, False),
])  # fmt: skip
def test_a_limit_means_what_its_sign_says(
    name: str, limit: str, below: bool, exactly: bool, above: bool
) -> None:
    def passes(value: float) -> bool:
        figures: dict[str, Any] = {
            "accuracy": {"accuracy": (value, 0.0, 1.0), "agreement": (1 - value, 0.0, 1.0)},
            "agreement": {"agreement": (value, 0.0, 1.0), "accuracy": (1 - value, 0.0, 1.0)},
            "speedup": {"speedup": value},
            "regression": {"behind": (-value, -1.0, 1.0)},
        }
        return bool(gate(name, limit, **figures[name])["passed"])

    assert [passes(value) for value in (0.25, 0.5, 0.75)] == [below, exactly, above]


@pytest.mark.parametrize("text, told", [
    (">= 0.9", ">= 0.9"), (">=90%", ">= 0.9"), ("  >  12.5 %  ", "> 0.125"),
    (">= 1", ">= 1"), (">= 100%", ">= 1"), ("> 0", "> 0"),
])  # fmt: skip
def test_a_limit_is_told_as_a_share(text: str, told: str) -> None:
    assert gate("accuracy", text)["limit"] == told


@pytest.mark.parametrize("name, text, why", [
    ("accuracy", "0.9", "is no limit"),
    ("accuracy", "= 0.9", "is no limit"),
    ("accuracy", ">= -0.5", "is no limit"),
    ("accuracy", ">= 0.9 or so", "is no limit"),
    ("speedup", "", "is no limit"),
    ("accuracy", "< 0.9", "points the wrong way for accuracy"),
    ("agreement", "<= 0.9", "points the wrong way for agreement"),
    ("speedup", "<= 2", "points the wrong way for speedup"),
    ("regression", "> 0.1", "points the wrong way for regression"),
    ("accuracy", ">= 1.01", "is beyond 1"),
    ("agreement", ">= 101%", "is beyond 1"),
    ("regression", "<= 2", "is beyond 1"),
])  # fmt: skip
def test_what_is_no_limit_is_refused_with_the_reason(name: str, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_limit(name, text)


def test_only_a_speedup_may_be_beyond_one() -> None:
    assert gate("speedup", ">= 8")["limit"] == ">= 8"
    assert gate("speedup", ">= 250%", speedup=2.5)["passed"]
    assert gate("regression", "<= 1", behind=(-0.9, -1.0, -0.8))["passed"]


@pytest.mark.parametrize("accuracy, passed, sentence", [
    ((0.96, 0.93, 0.98), True, "It is 96.0 %; with 95 % confidence 93.0 % to 98.0 %."),
    # The limit itself is kept, so an interval that begins there proves it.
    ((0.96, 0.90, 0.98), True, "It is 96.0 %; with 95 % confidence 90.0 % to 98.0 %."),
    ((0.92, 0.89, 0.94), True, "It is 92.0 %; with 95 % confidence 89.0 % to 94.0 %, "
     "so that so few images do not prove it."),
    ((0.90, 0.86, 0.93), True, "It is 90.0 %; with 95 % confidence 86.0 % to 93.0 %, "
     "so that so few images do not prove it."),
    ((0.88, 0.84, 0.91), False, "It is 88.0 %, 2.0 points too little; with 95 % confidence "
     "84.0 % to 91.0 %, so that the limit may yet be kept: more images would tell."),
    ((0.88, 0.84, 0.90), False, "It is 88.0 %, 2.0 points too little; with 95 % confidence "
     "84.0 % to 90.0 %, so that the limit may yet be kept: more images would tell."),
    ((0.70, 0.65, 0.75), False, "It is 70.0 %, 20.0 points too little; with 95 % confidence "
     "65.0 % to 75.0 %."),
])  # fmt: skip
def test_a_sentence_says_how_sure_an_accuracy_is(
    accuracy: tuple[float, float, float], passed: bool, sentence: str
) -> None:
    found = gate("accuracy", ">= 0.9", accuracy=accuracy)
    assert (found["passed"], found["sentence"]) == (passed, sentence)


@pytest.mark.parametrize("behind, passed, sentence", [
    # New minus old: ahead by three points, so the regression is negative.
    ((0.03, 0.01, 0.05), True, "It is -3.0 %; with 95 % confidence -5.0 % to -1.0 %."),
    ((0.0, -0.02, 0.02), True, "It is 0.0 %; with 95 % confidence -2.0 % to 2.0 %, "
     "so that so few images do not prove it."),
    ((-0.03, -0.05, 0.01), False, "It is 3.0 %, 2.0 points too much; with 95 % confidence "
     "-1.0 % to 5.0 %, so that the limit may yet be kept: more images would tell."),
    ((-0.06, -0.08, -0.04), False, "It is 6.0 %, 5.0 points too much; with 95 % confidence "
     "4.0 % to 8.0 %."),
])  # fmt: skip
def test_a_sentence_says_how_sure_a_regression_is(
    behind: tuple[float, float, float], passed: bool, sentence: str
) -> None:
    found = gate("regression", "<= 1%", behind=behind)
    assert (found["passed"], found["sentence"]) == (passed, sentence)
    assert found["low"] <= found["value"] <= found["high"]


def test_a_slow_student_is_told_how_much_is_missing() -> None:
    found = gate("speedup", ">= 8", speedup=5.5)
    assert (found["passed"], found["sentence"]) == (False, "It is 5.5, 2.5 too little.")


def test_what_cannot_be_measured_fails_and_what_has_no_predecessor_passes() -> None:
    found = gate("accuracy", ">= 0", accuracy=None)
    assert (found["passed"], found["value"]) == (False, None)
    assert found["sentence"] == "It cannot be measured: the config names no `truth`."
    assert gate("agreement", ">= 0.6", accuracy=None)["passed"]
    first = gate("regression", "<= 0", behind=None)
    assert (first["passed"], first["value"], first["limit"]) == (True, None, "<= 0")
    assert first["sentence"] == "There is no earlier student to fall behind."


def test_failed_gates_are_told_together() -> None:
    raise_failed([], Path("r.html"))
    raise_failed(gates({"accuracy": ">= 0.5", "speedup": "> 1"}), Path("r.html"))
    with pytest.raises(GateError) as lone:
        raise_failed(gates({"speedup": ">= 8"}), Path("r.html"))
    assert str(lone.value) == (
        "The gate failed.\n  speedup >= 8: It is 6.0, 2.0 too little.\nr.html"
    )
    with pytest.raises(GateError, match=r"^1 of 2 gates failed\.\n  speedup"):
        raise_failed(gates({"accuracy": ">= 0.5", "speedup": ">= 8"}), Path("r.html"))
    with pytest.raises(GateError) as several:
        raise_failed(
            gates({"speedup": ">= 8", "accuracy": ">= 0.5", "agreement": ">= 0.9"}), Path("r.html")
        )
    assert str(several.value) == (
        "2 of 3 gates failed.\n"
        "  speedup >= 8: It is 6.0, 2.0 too little.\n"
        "  agreement >= 0.9: It is 60.0 %, 30.0 points too little; with 95 % confidence "
        "50.0 % to 65.0 %.\n"
        "r.html"
    )
