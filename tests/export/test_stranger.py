"""Somebody who has read labels.json and nothing else gets the same answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from tests.export.made import of_student, pictures


def answers_of_a_stranger(folder: Path, files: list[Path]) -> list[str]:
    """The answers of a script that its author wrote from labels.json."""
    known = json.loads((folder / "labels.json").read_text())
    assert "pixels (bilinear), RGB, 0 to 1" in known["preprocessing"] and known["fit"] == "stretch"
    side = known["imgsz"]
    session = onnxruntime.InferenceSession(
        folder / known["file"], providers=["CPUExecutionProvider"]
    )
    answers = []
    for file in files:
        small = Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        pixels = (np.array(small) / 255 - known["mean"]) / known["std"]
        batch = pixels.transpose(2, 0, 1)[None].astype("float32")
        (shares, *_) = session.run([known["outputs"][0]], {known["input"]: batch})
        answers.append(known["classes"][np.argmax(shares[0])])
    return answers


def test_a_stranger_gets_the_same_answers(student: Path, onnx: Path) -> None:
    paths = pictures(student)
    shares, _ = of_student(student, paths)
    classes = json.loads((student / "student.json").read_text())["classes"]
    expected = [classes[at] for at in shares.argmax(axis=1)]
    assert answers_of_a_stranger(onnx, paths) == expected and len(set(expected)) > 1


def test_labels_say_all_that_is_needed(onnx: Path) -> None:
    known = json.loads((onnx / "labels.json").read_text())
    assert {
        "format", "precision", "file", "files", "runtime", "classes", "imgsz", "fit",
        "preprocessing", "resample", "mean", "std", "input", "outputs", "batch", "none",
        "student", "versions",
    } <= set(known)  # fmt: skip
    assert known["none"]["threshold"] == pytest.approx(known["none"]["threshold"])
    assert not any(str(Path.home()) in str(value) for value in known.values())
