"""A run folder that looks labeled, written row by row: what `upload`, `pull` and `deploy` read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from pipeline.labels.stage import LABEL
from pipeline.records import DATASET, LABELS, table, write_table
from pipeline.run.workspace import Workspace
from tests.fakes import label_counts, sha256

TEACHER = "a teacher"
CLASSES = ("red", "green", "blue")


@dataclass(frozen=True)
class Photo:
    """A photo of a run: what the teacher thought of it, and where the dataset has it."""

    stem: str
    name: str | None = "red"  # its class; None where the teacher abstained
    split: str | None = "train"  # None: it is not in the dataset
    confidence: float = 0.8
    margin: float = 0.25
    decision: str = "accepted"


def abstained(stem: str, confidence: float = 0.4) -> Photo:
    """A photo whose class the teacher would not say."""
    return Photo(stem, None, None, confidence, decision="abstained")


def write_photo(folder: Path, stem: str) -> Path:
    """Write a small picture that no other stem has."""
    path = folder / "photos" / f"{stem}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        seed = [ord(letter) for letter in stem]
        pixels = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return path


def write_run(folder: Path, photos: Sequence[Photo], run: str = "run", **section: Any) -> None:
    """Write `run.yaml` and a run folder whose labels and dataset are these photos."""
    rows, exported = [], []
    for photo in photos:
        path = write_photo(folder, photo.stem)
        one = sha256(path)
        rows.append({
            "id": one, "path": str(path), "class": photo.name, "guess": photo.name or "red",
            "confidence": photo.confidence, "margin": photo.margin,
            "probabilities": [photo.confidence], "decision": photo.decision, "reason": "",
        })  # fmt: skip
        if photo.split is not None:
            exported.append({
                "id": one, "path": str(path), "class": photo.name, "split": photo.split,
                "group": one, "file": f"{photo.split}/{photo.name}/{path.name}",
            })  # fmt: skip
    workspace = Workspace(folder / run)
    write_table(workspace.labels, table(rows, LABELS))
    write_table(workspace.dataset_table, table(exported, DATASET))
    LABEL.finish(workspace, "x", label_counts(TEACHER), 1.0)
    settings = {
        "source": "photos", "workspace": run,
        "ontology": {f"a {name} thing": name for name in CLASSES},
        "roboflow": {"project": "fruit", "timeout": 20.0, "retries": 3, **section},
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))


def id_of(folder: Path, stem: str) -> str:
    """The id that a photo has in the tables."""
    return sha256(folder / "photos" / f"{stem}.png")


def ledger_line(folder: Path, stem: str, state: str, name: str | None, **further: Any) -> str:
    """A line of `upload/<workspace>--<project>.jsonl`, as a run would have written it."""
    one = id_of(folder, stem)
    known = {"image": one[:20], "split": "train", "was_there": False, "reason": None}
    return json.dumps({"id": one, "state": state, "name": name} | known | further) + "\n"
