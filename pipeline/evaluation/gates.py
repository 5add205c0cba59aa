"""Gates: whether a student reaches what its config asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import GateError
from pipeline.evaluation.record import Evaluation, GateResult
from pipeline.evaluation.wording import percent
from pipeline.values import Limit


def check_gates(limits: Sequence[Limit], evaluation: Evaluation) -> list[GateResult]:
    """Return for each limit whether the student keeps it, and a sentence for people."""
    return [_check(limit, evaluation) for limit in limits]


def _check(limit: Limit, evaluation: Evaluation) -> GateResult:
    student = evaluation.student
    if limit.name == "speedup":
        return _judged(limit, evaluation.comparison.speedup.end_to_end, None, None)
    if limit.name == "regression":
        if evaluation.against is None:
            return _unmeasured(limit, True, "There is no earlier student to fall behind.")
        lead = evaluation.against.difference
        # 0 - x, so that two equal students are 0.0 and not -0.0 % apart.
        return _judged(limit, 0 - lead.value, 0 - lead.high, 0 - lead.low)
    figure = student.accuracy if limit.name == "accuracy" else student.agreement
    if figure is None:
        sentence = "It cannot be measured: the config names no `truth`."
        return _unmeasured(limit, False, sentence)
    return _judged(limit, figure.value, figure.low, figure.high)


def _judged(limit: Limit, value: float, low: float | None, high: float | None) -> GateResult:
    passed = limit.keeps(value)
    sentence = _sentence(limit, value, low, high, passed)
    return GateResult(limit.name, limit.text, value, low, high, passed, sentence)


def _unmeasured(limit: Limit, passed: bool, sentence: str) -> GateResult:
    return GateResult(limit.name, limit.text, None, None, None, passed, sentence)


def _sentence(
    limit: Limit, value: float, low: float | None, high: float | None, passed: bool
) -> str:
    if limit.name == "speedup":
        missing = "" if passed else f", {abs(limit.limit - value):.1f} too little"
        return f"It is {value:.1f}{missing}."
    gap = f"{abs(limit.limit - value) * 100:.1f} points"
    missing = "" if passed else f", {gap} {'too little' if limit.sign[0] == '>' else 'too much'}"
    if low is None or high is None:
        return f"It is {percent(value)}{missing}."
    between = (
        f"It is {percent(value)}{missing}; with 95 % confidence {percent(low)} to {percent(high)}"
    )
    if passed and not (limit.keeps(low) and limit.keeps(high)):
        return f"{between}, so that so few images do not prove it."
    if not passed and (limit.keeps(low) or limit.keeps(high)):
        return f"{between}, so that the limit may yet be kept: more images would tell."
    return f"{between}."


def raise_failed(gates: Sequence[GateResult], report: Path) -> None:
    """Raise a `GateError` that says which gates failed, if any did."""
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        lines = [f"{gate.gate} {gate.limit}: {gate.sentence}" for gate in failed]
        count = (
            f"{len(failed)} of {len(gates)} gates failed" if len(gates) > 1 else "The gate failed"
        )
        raise GateError(f"{count}.", *(f"  {one}" for one in lines), str(report))
