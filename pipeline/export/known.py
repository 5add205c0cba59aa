"""What an exported folder says of itself, without opening its model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.export.labels import FILE as LABELS

PROOF = "proof.json"


@dataclass(frozen=True)
class Known:
    """An exported folder: what it is, and whether it answers as the student does."""

    folder: Path
    format: str
    precision: str
    student: str  # SHA-256 of the weights that it was made from
    passed: bool
    proof: dict[str, Any]  # proof.json; {} where there is none


def read_export(folder: Path) -> Known | None:
    """Return what a folder says; None where it is no exported folder, or a damaged one."""
    try:
        labels = json.loads((folder / LABELS).read_text("utf-8"))
        name, precision, student = (str(labels[key]) for key in ("format", "precision", "student"))
        there = (folder / PROOF).is_file()
        proof = json.loads((folder / PROOF).read_text("utf-8")) if there else {}
        return Known(folder, name, precision, student, proof.get("passed") is True, proof)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
