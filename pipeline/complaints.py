"""What pydantic finds wrong with a config, as sentences with the keys that people wrote."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pipeline.yaml_text import as_read

Place = Sequence[str | int]

# What a value must be, by pydantic's type of error; `{}` takes the error's context.
_MUST = {
    "string": "text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "list": "a list",
    "dict": "`key: value` lines",
    "model": "`key: value` lines",
    "literal": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "finite_number": "a finite number",
    "is_instance_of": "a path",
    "too_short": "a list with something in it",
}
_SHOWN = reprlib.Repr()
_SHOWN.maxlevel, _SHOWN.maxstring, _SHOWN.maxother = 2, 80, 80


def sentences(
    error: ValidationError, given: Mapping[str, Any], spelling: Callable[[Place], str | None]
) -> list[str]:
    """Return one sentence for each key with a problem.

    Args:
        given: what was checked, as it was written: one source or teacher is no list there.
        spelling: how the scalar at a place is written, where that is known.
    """
    found: dict[tuple[str | int, ...], list[Any]] = {}
    alternatives = set()
    for problem in error.errors(include_url=False):
        place = _place(problem["loc"], given, problem["type"] in ("missing", "extra_forbidden"))
        found.setdefault(place, []).append(problem)
        if any(str(part).startswith(("list[", "literal[")) for part in problem["loc"]):
            alternatives.add(place)
    # Of a union, the alternative that fits best is the one that goes on below.
    beaten = {
        place for place in alternatives for other in alternatives if other[:-1] == place != other
    }
    return [
        _sentence(place, problems, spelling)
        for place, problems in found.items()
        if place not in beaten
    ]


def _place(loc: Place, given: Any, lacking: bool) -> tuple[str | int, ...]:
    """The keys of a location that people wrote: pydantic adds the names of alternatives."""
    place: list[str | int] = []
    for number, part in enumerate(loc):
        here = (
            part in given
            if isinstance(given, Mapping)
            else isinstance(given, list) and isinstance(part, int) and part < len(given)
        )
        if here:
            given = given[part]
            place.append(part)
        elif lacking and number == len(loc) - 1:
            place.append(part)
    return tuple(place)


def _sentence(
    place: tuple[str | int, ...], problems: Sequence[Any], spelling: Callable[[Place], str | None]
) -> str:
    where = f"`{'.'.join(map(str, place))}`" if place else "The file"
    first = problems[0]
    kind, value = first["type"], first.get("input")
    if kind == "extra_forbidden":
        return f"{where} is not a key that is known. Check its spelling or remove it."
    if kind == "missing":
        return f"{where} is missing. Add it."
    if kind == "value_error":
        message = first["msg"].removeprefix("Value error, ")
        return f"{where} is {_SHOWN.repr(value)}: {message}."
    if place[:1] == ("ontology",) and len(place) == 2 and isinstance(value, list):
        return f"{where} is a list. {_turned_round(str(place[1]), value)}"
    must = _either([_must(problem) for problem in problems])
    if must in ("text", "a path") and isinstance(value, (list, dict)):
        return f"{where} must be {must}, not {'a list' if isinstance(value, list) else 'lines'}."
    if must in ("text", "a path"):
        spelled = None if isinstance(value, str) else spelling(place)
        if spelled is not None:
            return f"{where} must be {must}: {as_read(spelled, value)}."
        return f"{where} must be {must}, not {_SHOWN.repr(value)}; put it in quotes."
    return f"{where} is {_SHOWN.repr(value)}; it must be {must}."


def _either(wanted: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(wanted))
    if "a number" in kinds and "a whole number" in kinds:
        kinds.remove("a whole number")
    if "a path" in kinds and "text" in kinds:  # addresses are text, and go without saying
        kinds.remove("text")
    return " or ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))


def _must(problem: Any) -> str:
    kind = problem["type"]
    for start in (kind, kind.split("_")[0]):
        if start in _MUST:
            return _MUST[start].format(**problem.get("ctx", {}))
    return str(problem["msg"]).removeprefix("Input should be ")


def _turned_round(key: str, values: Sequence[Any]) -> str:
    """An ontology is prompt → class; class → prompts is the other way to think of it."""
    lines = ", ".join(f"`{text}: {key}`" for text in values[:2] if isinstance(text, str))
    says = "Each line of the ontology is `prompt: class`"
    if len(values) == 1 and lines:
        return f"{says}: write {lines}, or `{key}: {values[0]}` if {key!r} is the prompt."
    return f"{says}: write one line for each prompt{', as ' + lines if lines else ''}."
