"""Any student, in whichever format it is, as the one who answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import StudentError
from pipeline.export import labels, predict
from pipeline.export.known import read_export
from pipeline.files import fingerprint, hashes_of
from pipeline.machine import cores
from pipeline.run.workspace import Workspace
from pipeline.student import Student
from pipeline.student.precision import Asked
from pipeline.student.predict import Seeing
from pipeline.student.unlike import Unlike


class Exported(Seeing):
    """A student in the format of another runtime; `Exported.load` opens one. It answers through
    predict.py, as it does for whoever the folder is handed to."""

    def __init__(self, folder: Path, model: predict.Model, unlike: Unlike | None, device: str):
        self.folder = folder
        self.format = self.runtime = str(model.labels["format"])
        self.precision = str(model.labels["precision"])
        self.student = str(model.labels["student"])  # SHA-256 of the weights that it was made from
        self.name = f"{self.format} {self.precision}"
        self.classes = model.classes
        self.parameters = int(model.labels["parameters"])
        self.file_bytes = sum((folder / name).stat().st_size for name in model.labels["files"])
        self.device = device
        self.unlike = unlike
        self._model = model

    @classmethod
    def load(cls, folder: Path, device: str = "auto", threads: int | None = None) -> Exported:
        """Open an exported folder.

        Args:
            folder: with labels.json.
            device: auto is the CPU, but for engines, which need a GPU.
            threads: that it computes on; by default all that this process may use.

        Raises:
            StudentError: something is missing, damaged, or not installed.
        """
        known: Any = None
        try:
            model = predict.load(folder, device, threads or cores())
            known = Unlike.load(folder, len(model.classes)) if model.labels["none"] else None
        except predict.CannotAnswer as error:
            raise StudentError(str(error)) from error
        return cls(folder, model, known, model.device)

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return float32 (3, imgsz, imgsz) of an RGB image."""
        return self._model.prepare(image)

    def predict(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return probabilities (n, classes) float32 for prepared images, (3, H, W) each."""
        return self.see(batch)[0]

    def see(self, batch: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (n, classes) and the features (n, features) that they are made of,
        both float32.

        Raises:
            StudentError: the runtime fails.
        """
        try:
            return self._model.run(np.stack(batch))
        except predict.CannotAnswer as error:
            raise StudentError(str(error)) from error


def exports_of(workspace: Workspace) -> list[Path]:
    """Return the folders of the exports that belong to the run's student and were proved, by name;
    none where there is no student."""
    if not workspace.weights.is_file():
        return []
    (student,) = hashes_of([workspace.weights])
    return [
        folder
        for folder in sorted(workspace.exports.glob("*"))
        if (known := read_export(folder)) is not None and known.student == student and known.passed
    ]


def exports_digest(workspace: Workspace) -> str:
    """Name the exports of `exports_of`, so that whoever depends on them sees others."""
    known = [read_export(folder) for folder in exports_of(workspace)]
    return fingerprint([[one.folder.name, one.files] for one in known if one is not None])


def open_student(path: Path, device: str = "auto", precision: Asked = "fp32") -> Student | Exported:
    """Open a student by whatever names it.

    Args:
        path: a run's folder or a student's, its weights.pt, other classification weights of
            ultralytics, an exported folder, or the model's file in one.
        device: where it computes.
        precision: of one in PyTorch; an export computes in what it was made in.

    Raises:
        StudentError: it is none of these, or it cannot be opened.
    """
    if path.is_dir():
        if (path / labels.FILE).is_file():
            return Exported.load(path, device)
        folder = path / "student" if (path / "student").is_dir() else path
        if not (folder / "weights.pt").is_file():
            raise StudentError(
                f"{path} holds no student: neither weights.pt nor an export's labels.json. Run "
                "`clip2yolo train` first, or name another folder."
            )
        return Student.load(folder, device, precision)
    if not path.is_file():
        raise StudentError(f"{path} does not exist. Name a student's folder or file.")
    if path.suffix == ".pt":
        folder = path.parent
        if path.name == "weights.pt" and (folder / "student.json").is_file():
            return Student.load(folder, device, precision)
        return Student.of_weights(str(path.absolute()), device, precision)
    if (path.parent / labels.FILE).is_file():
        return Exported.load(path.parent, device)
    raise StudentError(
        f"{path} lies without the labels.json that an export puts beside a model, so that nobody "
        "can tell what its answers mean. Name a file of an exported folder, or weights (.pt)."
    )
