"""Which formats of a student were proved: those that lie in the run, and those that were recorded
when it was kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.export.known import Known, read_export
from pipeline.files import sha256_of, write_json

FILE = "exports.json"  # beside a kept student


@dataclass(frozen=True)
class Proved:
    """An export that answers as the student does."""

    name: str  # of its folder
    format: str
    precision: str
    sentence: str  # of its proof
    files: dict[str, str]  # of the model, with their SHA-256
    folder: str | None = None  # where it lies; None where it was recorded and is no longer there


def proved_exports(exports: Path, student: Path) -> list[Proved]:
    """Return the proved exports of a student, by name: of those that lie in the run, only whole
    ones.

    Args:
        exports: the run's exported folders.
        student: the student's folder; a kept one may have a record of earlier exports.
    """
    digest = sha256_of(student / "weights.pt")
    found = {one.name: one for one in _recorded(student / FILE)}
    for folder in sorted(exports.glob("*")):
        known = read_export(folder)
        if known is not None and known.student == digest and known.passed and known.whole:
            found[folder.name] = _proved(known)
    return [found[name] for name in sorted(found)]


def record_exports(exports: Path, student: Path) -> None:
    """Write into a kept student's folder which of its exports were proved, those that were recorded
    before included."""
    found = [asdict(replace(one, folder=None)) for one in proved_exports(exports, student)]
    if found:
        write_json(student / FILE, found)


def in_words(proved: list[Proved]) -> list[str]:
    """Return a sentence for each proved export."""
    return [
        f"Proved: {one.sentence} It lies in {one.folder}."
        if one.folder
        else f"Proved earlier: {one.sentence} `clip2yolo export` makes it again."
        for one in proved
    ]


def _proved(known: Known) -> Proved:
    sentence = str(known.proof.get("sentence", ""))
    name, folder = known.folder.name, str(known.folder)
    return Proved(name, known.format, known.precision, sentence, known.files, folder)


def _recorded(file: Path) -> list[Proved]:
    try:
        return TypeAdapter(list[Proved]).validate_python(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, ValidationError):
        return []  # there is none, or what somebody spoilt proves nothing
