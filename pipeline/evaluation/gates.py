"""Gates: what a student must reach to be used, as a config states it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.wording import percent

NAMES = ("accuracy", "agreement", "speedup", "regression")
_FORM = re.compile(r"\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


@dataclass(frozen=True)
class Gate:
    """A figure and the limit it must keep."""

    name: str  # one of NAMES
    sign: str  # ">=", ">", "<=" or "<"
    limit: float

    def keeps(self, value: float) -> bool:
        """Say whether a value keeps the limit."""
        return {
            ">=": value >= self.limit,
            ">": value > self.limit,
            "<=": value <= self.limit,
            "<": value < self.limit,
        }[self.sign]


def parse_gate(name: str, text: str) -> Gate:
    """Read a limit such as ">= 0.9", "<= 1%" or "> 5".

    Raises:
        ValueError: it is none, or points the wrong way.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is no limit; write it as ">= 0.9" or "<= 1%"')
    sign, limit = match[1], float(match[2]) / (100 if match[3] else 1)
    if (sign[0] == "<") != (name == "regression"):
        raise ValueError(f"{text!r} points the wrong way for {name}")
    if name != "speedup" and limit > 1:
        raise ValueError(f"{text!r} is beyond 1, and {name} is a share")
    return Gate(name, sign, limit)


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
    return [_check(parse_gate(name, text), evaluation, against) for name, text in gates.items()]


def _check(
    gate: Gate, evaluation: Mapping[str, Any], against: Mapping[str, Any] | None
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


def _sentence(gate: Gate, value: float, low: float | None, high: float | None, passed: bool) -> str:
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
    gate: Gate,
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
