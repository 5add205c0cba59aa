"""What an exported folder says of itself, without opening its model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.export.labels import FILE as LABELS
from pipeline.files import hashes_of

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
    files: dict[str, str]  # of the model, with their SHA-256

    @property
    def bytes(self) -> int:
        """Size of the model."""
        return sum((self.folder / name).stat().st_size for name in self.files)

    @property
    def whole(self) -> bool:
        """Whether the model's files are those that were proved."""
        paths = [self.folder / name for name in self.files]
        if not all(path.is_file() for path in paths):
            return False
        return hashes_of(paths) == list(self.files.values())


def read_export(folder: Path) -> Known | None:
    """Return what a folder says; None where it is no exported folder, or a damaged one."""
    try:
        labels = json.loads((folder / LABELS).read_text("utf-8"))
        name, precision, student = (str(labels[key]) for key in ("format", "precision", "student"))
        there = (folder / PROOF).is_file()
        proof = json.loads((folder / PROOF).read_text("utf-8")) if there else {}
        files = {str(file): str(digest) for file, digest in labels["files"].items()}
        passed = proof.get("passed") is True
        return Known(folder, name, precision, student, passed, proof, files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
