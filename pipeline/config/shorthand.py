"""What may be written shorter, as a name or as one instead of a list, written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.config.paths import place_of, with_model_paths


def sources_of(given: Any, base: Path, file: Path) -> Any:
    """One source or several, each a path or a mapping, as a list of mappings."""
    several = given if isinstance(given, list) else [given]
    named = [{"path": one} if isinstance(one, str) else one for one in several]
    return [
        one | {"path": place_of(base, one["path"], f"{file}: `source`")}
        if isinstance(one, dict) and isinstance(one.get("path"), str) and one["path"].strip()
        else one
        for one in named
    ]


def examples_of(given: Any, base: Path, file: Path) -> Any:
    """The places of each class's examples, one or several, as a list of paths."""
    if not isinstance(given, dict):
        return given
    lists = {
        name: places if isinstance(places, list) else [places] for name, places in given.items()
    }
    return {
        name: [
            place_of(base, one, f"{file}: `examples`")
            if isinstance(one, str) and one.strip()
            else one
            for one in places
        ]
        for name, places in lists.items()
    }


def teachers_of(given: Any, base: Path) -> Any:
    """One teacher or several, each a name or a mapping, as a list of mappings."""
    several = given if isinstance(given, list) else [given]
    named = [{"model": one} if isinstance(one, str) else one for one in several]
    return [with_model_paths(one, "teacher", base) for one in named]


def exports_of(given: Any) -> Any:
    """One export or several, each a format's name or a mapping, as a list of mappings."""
    several = given if isinstance(given, list) else [given]
    return [{"format": one} if isinstance(one, str) else one for one in several]


def space_of(given: Any, base: Path) -> Any:
    """A space, its name or a mapping, as a mapping; None for none."""
    if given == "none":
        return None
    if isinstance(given, str):
        given = {"kind": "student"} if given == "student" else {"model": given}
    student = isinstance(given, dict) and given.get("kind") == "student"
    return with_model_paths(given, "student" if student else "teacher", base)
