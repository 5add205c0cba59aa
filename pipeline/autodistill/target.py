"""A student behind autodistill's interface of target models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv
from autodistill.classification import ClassificationTargetModel

from pipeline.autodistill.given import ImageInput, read_picture, settings_of
from pipeline.config import StudentConfig
from pipeline.errors import ConfigError, SourceError, StudentError
from pipeline.records import SPLITS
from pipeline.student import FILES, Student, TrainResult, train
from pipeline.terminal import TerminalListener


class YOLOv8(ClassificationTargetModel):  # type: ignore[misc]
    """A student of clip2yolo as a target model of autodistill.

    Args:
        model_name: a `*-cls` model of ultralytics (`yolov8n-cls.pt`, `yolov8n-cls.yaml`), the path
            of any classification weights that ultralytics saved, or the folder of a training. All
            but an architecture can be asked at once.

    Raises:
        StudentError: a path leads nowhere, or to something else than a classifier.
    """

    def __init__(self, model_name: str | os.PathLike[str] = "yolov8n-cls.pt") -> None:
        name = os.fspath(model_name)
        path = Path(name).expanduser()
        self._student: Student | None = None
        self._model = name
        if path.is_dir():
            self._student = Student.load(path.absolute())
            self._model = str(path.absolute() / "weights.pt")
        elif path.is_file():
            self._model = str(path.absolute())
            if path.suffix == ".pt":
                self._student = Student.of_weights(self._model)
        elif path.name != name:
            raise StudentError(f"{name} does not exist. Correct the path of the model.")

    def train(
        self,
        dataset_yaml: str | os.PathLike[str],
        epochs: int = 30,
        device: Any = None,
        output: str | os.PathLike[str] = "runs/student",
        **settings: Any,
    ) -> TrainResult:
        """Train on a folder dataset with `train/`, `valid/` and `test/`.

        Args:
            dataset_yaml: the folder; the path of a YAML file in it, whether or not there is one,
                means its folder.
            epochs: how often every picture is seen.
            device: as torch or ultralytics name it: 0, "cuda:0", "cpu"; by default the best.
            output: folder for the student; an earlier student in it is replaced.
            settings: any further key of `student` in a config, as `imgsz` or `batch`.

        Raises:
            ConfigError: a setting that is not known or cannot be used.
            SourceError: there is no such dataset, or the output folder holds other files.
            StudentError: a split is missing, or the training failed.
        """
        given = {"model": self._model, "epochs": epochs, "device": device, **settings}
        given.setdefault("distill", "hard")  # folders say what an image is, not what is believed
        given.setdefault("precision", "fp32")  # as whoever opens the weights again
        config = settings_of(StudentConfig, given)
        folder = Path(dataset_yaml).expanduser().absolute()
        if not folder.is_dir() and folder.suffix.lower() in (".yaml", ".yml"):
            folder = folder.parent
        classes = _classes_of(folder)
        out = Path(output).expanduser().absolute()
        _refuse_others_files(out)
        result = train(folder, out, config, classes, on_epoch=TerminalListener().epoch)
        self._student = Student.load(out, config.device, config.precision)
        return result

    def predict(self, input: ImageInput, confidence: float = 0.5) -> sv.Classifications:
        """Return the classes of at least this probability, the most probable first.

        Args:
            input: a path, an address, a PIL image, or a grey or BGR array as OpenCV reads it.

        Raises:
            ConfigError: it is an architecture that has not been trained.
            SourceError: the picture cannot be read.
        """
        student = self._asked()
        shares = student.predict([read_picture(student, input)])[0]
        order = [one for one in np.argsort(-shares).tolist() if shares[one] >= confidence]
        return sv.Classifications(class_id=np.array(order, int), confidence=shares[order])

    @property
    def classes(self) -> Sequence[str]:
        """The class of each id."""
        return () if self._student is None else self._student.classes

    def _asked(self) -> Student:
        if self._student is None:
            if not self._model.endswith(".pt"):
                raise ConfigError("This student has not been trained yet. Call `train` first.")
            self._student = Student.of_weights(self._model)  # published: fetched when needed
        return self._student


def _refuse_others_files(out: Path) -> None:
    """A training replaces its whole folder: nothing but an earlier student may lie in it."""
    if not out.exists():
        return
    found = sorted(path.name for path in out.iterdir()) if out.is_dir() else [out.name]
    others = [name for name in found if name not in FILES or "student.json" not in found]
    if others:
        raise SourceError(
            f"{out} holds files that no training wrote ({others[0]}). Name another `output`."
        )


def _classes_of(folder: Path) -> list[str]:
    found: Mapping[str, list[str]] = {
        split: sorted(
            path.name
            for path in (folder / split).glob("*")
            if path.is_dir() and not path.name.startswith(".")
        )
        for split in SPLITS
    }
    if not found["train"]:
        raise SourceError(f"{folder} has no train/<class>/ folders. Label into it first.")
    return found["train"]
