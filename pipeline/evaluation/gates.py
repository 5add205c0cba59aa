"""Gates: what a student must reach to be used, as a config states it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.config import Limit, parse_limit
from pipeline.evaluation.wording import percent


def check_gates(
    gates: Mapping[Any, str], evaluation: Mapping[str, Any], against: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Return for each gate whether it holds, and a sentence for people.

    Args:
        gates: name → limit.
        evaluation: the content of evaluation.json.
        against: the comparison with the promoted student (`pipeline.against.compare`), or None
            where there is no other.
    """
    return [_check(parse_limit(name, text), evaluation, against) for name, text in gates.items()]


def _check(
    gate: Limit, evaluation: Mapping[str, Any], against: Mapping[str, Any] | None
) -> dict[str, Any]:
    value: float | None
    low: float | None = None
    high: float | None = None
    student = evaluation["student"]
    if gate.name == "speedup":
        value = evaluation["comparison"]["speedup"]["end_to_end"]
    elif gate.name == "regression":
        if against is None:
            return _result(
                gate, None, None, None, True, "There is no earlier student to fall behind."
            )
        difference = against["difference"]
        value, low, high = -difference["value"], -difference["high"], -difference["low"]
    else:
        figure = student[gate.name]
        if figure is None:
            sentence = "It cannot be measured: the config names no `truth`."
            return _result(gate, None, None, None, False, sentence)
        value, low, high = figure["value"], figure["low"], figure["high"]
    passed = gate.keeps(value)
    return _result(gate, value, low, high, passed, _sentence(gate, value, low, high, passed))


def _sentence(
    gate: Limit, value: float, low: float | None, high: float | None, passed: bool
) -> str:
    if gate.name == "speedup":
        missing = "" if passed else f", {abs(gate.limit - value):.1f} too little"
        return f"It is {value:.1f}{missing}."
    gap = f"{abs(gate.limit - value) * 100:.1f} points"
    missing = "" if passed else f", {gap} {'too little' if gate.sign[0] == '>' else 'too much'}"
    if low is None or high is None:
        return f"It is {percent(value)}{missing}."
    between = (
        f"It is {percent(value)}{missing}; with 95 % confidence {percent(low)} to {percent(high)}"
    )
    if passed and not (gate.keeps(low) and gate.keeps(high)):
        return f"{between}, so that so few images do not prove it."
    if not passed and (gate.keeps(low) or gate.keeps(high)):
        return f"{between}, so that the limit may yet be kept: more images would tell."
    return f"{between}."


def _result(
    gate: Limit,
    value: float | None,
    low: float | None,
    high: float | None,
    passed: bool,
    sentence: str,
) -> dict[str, Any]:
    return {
        "gate": gate.name,
        "limit": f"{gate.sign} {gate.limit:g}",
        "value": value,
        "low": low,
        "high": high,
        "passed": passed,
        "sentence": sentence,
    }
