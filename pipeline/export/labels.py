"""labels.json: what somebody must know to use an exported model, and nothing else."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.export.formats import Format
from pipeline.files import sha256_of
from pipeline.student.card import PREPROCESSING, StudentCard, architecture
from pipeline.student.unlike import AUTO, Unlike

FILE = "labels.json"
_RESAMPLE = (
    "bilinear, Pillow's Image.resize with Resampling.BILINEAR on 8-bit RGB: a triangle filter that "
    "is as wide as the reduction, so that every pixel counts"
)


def labels_of(
    wanted: Format,
    precision: str,
    folder: Path,
    files: Sequence[str],
    student: Path,
    card: StudentCard,
    unlike: Unlike | None,
    model: Any,
) -> dict[str, Any]:
    """Return what labels.json says of a model.

    Args:
        wanted: its format.
        precision: fp32, fp16 or int8.
        folder: where its files lie.
        files: their names, the one to open first.
        student: the folder of the student that it was made from.
        card: that student's.
        unlike: what it knows of pictures that are none of its classes.
        model: the student's, from its checkpoint.
    """
    threshold = None if unlike is None else unlike.threshold()
    return {
        "format": wanted.name,
        "precision": precision,
        "file": files[0].partition("/")[0],  # Core ML's is a folder
        "files": {name: sha256_of(folder / name) for name in files},
        "runtime": wanted.runtime,
        "classes": list(card.classes),
        "imgsz": card.imgsz,
        "fit": card.fit,
        "preprocessing": PREPROCESSING[card.fit].replace("imgsz", f"{card.imgsz} pixels"),
        "resample": _RESAMPLE,
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "input": wanted.input_name,
        "outputs": list(wanted.output_names),
        "batch": wanted.batch,
        "softmax": "in the model; its first output sums to 1",
        "none": None
        if threshold is None
        else {"threshold": threshold, "share": AUTO, "arrays": "unlike.npz"},
        "student": sha256_of(student / "weights.pt"),
        "model": architecture(model, card),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "versions": _versions(wanted),
    }


def _versions(wanted: Format) -> dict[str, str]:
    """What it was made with."""
    found = {"clip2yolo": __version__, "python": platform.python_version()}
    for package in dict.fromkeys(("torch", "ultralytics", *wanted.packages)):
        try:
            found[package] = metadata.version(package.replace("_", "-"))
        except metadata.PackageNotFoundError:
            continue
    return found
