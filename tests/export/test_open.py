"""A student is opened by whatever names it, and nothing that is damaged is."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StudentError
from pipeline.export.open import Exported, exports_of, open_student
from pipeline.pixels import read_rgb
from pipeline.run.workspace import Workspace
from pipeline.student import Student
from tests.export.made import of_student, pictures


def test_any_name_of_a_student_opens_it(student: Path, onnx: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(student, run / "student")
    loose = tmp_path / "loose.pt"
    shutil.copyfile(student / "weights.pt", loose)
    paths = pictures(student)
    shares, _ = of_student(student, paths)
    for name in (student, run, student / "weights.pt", loose, onnx, onnx / "model.onnx"):
        found = open_student(name, "cpu")
        assert isinstance(found, Exported if onnx in (name, name.parent) else Student)
        answers = found.predict([found.prepare(read_rgb(path)) for path in paths])
        assert answers == pytest.approx(shares, abs=1e-4)


def test_what_is_no_student_is_refused(onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(StudentError, match="does not exist"):
        open_student(tmp_path / "nothing")
    with pytest.raises(StudentError, match="holds no student"):
        open_student(tmp_path)
    shutil.copyfile(onnx / "model.onnx", tmp_path / "model.onnx")
    with pytest.raises(StudentError, match=r"labels\.json"):
        open_student(tmp_path / "model.onnx")


def _edit(folder: Path, **changes: object) -> None:
    known = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps(known | changes))


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def _pickled(folder: Path) -> None:
    arrays = dict(np.load(folder / "unlike.npz"))
    arrays["means"] = np.array([{"run": "me"}], object)
    with (folder / "unlike.npz").open("wb") as file:
        np.savez(file, **arrays)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda folder: _flip(folder / "model.onnx"),
    "no model": lambda folder: (folder / "model.onnx").unlink(),
    "no labels": lambda folder: (folder / "labels.json").write_text("{"),
    "other labels": lambda folder: (folder / "labels.json").write_text("[1]"),
    "binary labels": lambda folder: (folder / "labels.json").write_bytes(b"\xff\xfe\0"),
    "a file elsewhere": lambda folder: _edit(folder, files={"../student/weights.pt": "0"}),
    "another file to open": lambda folder: _edit(folder, file="/etc/passwd"),
    "no classes": lambda folder: _edit(folder, classes=[]),
    "a huge square": lambda folder: _edit(folder, imgsz=10**9),
    "an unknown fit": lambda folder: _edit(folder, fit="bend"),
    "an unknown format": lambda folder: _edit(folder, format="abacus"),
    "a format in no words": lambda folder: _edit(folder, format=["onnx"]),
    "no threshold": lambda folder: _edit(folder, none={}),
    "no arrays": lambda folder: (folder / "unlike.npz").unlink(),
    "half the arrays": lambda folder: (folder / "unlike.npz").write_bytes(b"PK\x03\x04"),
    "pickled arrays": _pickled,
    "a pickle": lambda folder: (folder / "unlike.npz").write_bytes(pickle.dumps({"a": 1})),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_in_words(damage: str, onnx: Path, tmp_path: Path) -> None:
    folder = tmp_path / "onnx"
    shutil.copytree(onnx, folder)
    DAMAGE[damage](folder)
    with pytest.raises(StudentError) as found:
        open_student(folder)
    assert str(found.value).endswith(".") and "Traceback" not in str(found.value)


def test_a_device_that_the_runtime_lacks_is_refused(onnx: Path) -> None:
    with pytest.raises(StudentError, match="cuda"):
        open_student(onnx, "cuda")


def test_only_proved_exports_of_this_student_count(
    student: Path, onnx: Path, tmp_path: Path
) -> None:
    space = Workspace(tmp_path / "run")
    assert exports_of(space) == []
    shutil.copytree(student, space.student)
    for name in ("proved", "failing", "unproved", "stale"):
        shutil.copytree(onnx, space.exports / name)
    for name in ("proved", "failing", "stale"):
        passed = name != "failing"
        (space.exports / name / "proof.json").write_text(json.dumps({"passed": passed}))
    _edit(space.exports / "stale", student="0" * 64)
    assert exports_of(space) == [space.exports / "proved"]
