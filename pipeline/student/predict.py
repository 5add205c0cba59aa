"""Asking a trained student."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from pipeline.errors import StudentError
from pipeline.machine import pick_device, streams_of
from pipeline.records import Predictor
from pipeline.student.card import architecture, read_card
from pipeline.student.precision import Asked, Precision, pick_precision
from pipeline.student.unlike import FEWEST, IN_BF16, NONE, Refuse, Unlike


class Seeing(Predictor, Protocol):
    """A student in whichever format, with what it sees before it decides."""

    unlike: Unlike | None  # None for one that does not know what is unlike its classes

    @property
    def can_refuse(self) -> bool:
        """Whether it can answer that a picture is none of its classes; see `Refusing`."""
        return self.unlike is not None and self.unlike.threshold() is not None

    @abstractmethod
    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return float32 (3, imgsz, imgsz) of an RGB image. Thread-safe."""

    @abstractmethod
    def see(self, batch: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (n, classes) and the features (n, features) that they are made of,
        both float32, of prepared images."""


class Student(Seeing):
    """A trained student; `Student.load` opens one."""

    def __init__(
        self,
        name: str,
        model: Any,
        classes: tuple[str, ...],
        imgsz: int | tuple[int, int],
        file: Path,
        device: str,
        fit: str = "crop",
        unlike: Unlike | None = None,
        precision: Precision = "fp32",
    ) -> None:
        from torch.nn import Identity

        from pipeline.teachers.precision import DTYPES, lower
        from pipeline.yolo.geometry import Preparation
        from pipeline.yolo.lean import lean

        self.name = name
        self.classes = classes
        self.parameters = sum(weight.numel() for weight in model.parameters())
        self.file_bytes = file.stat().st_size
        self.device, self.precision = device, precision
        self.fit, self.imgsz = fit, imgsz
        self.streams = streams_of(device)
        self.unlike = unlike  # None for one that does not know what is unlike its classes
        self._model = lean(model, device)
        # Its last layer is asked apart, since what it is given is of use, too.
        self._decide = self._model.model[-1].linear
        self._model.model[-1].linear = Identity()
        # All but that layer, in which the smallest differences decide, and the softmax.
        self._dtype = DTYPES[precision]
        lower(self._model, precision)
        self._preparation = Preparation(fit, imgsz)

    @classmethod
    def load(cls, folder: Path, device: str = "auto", precision: Asked = "fp32") -> Student:
        """Open the student that `train` put into `folder`.

        Args:
            precision: what it computes with; bf16 takes less time in batches, and its probabilities
                differ in the third decimal, seldom in the second. "auto" is bf16 where the
                processor gains by it and the student was found, once trained, to answer alike.

        Raises:
            StudentError: there is none, its files do not belong together, or the device is absent
                or does not multiply bf16.
        """
        from pipeline.yolo.library import load_checkpoint

        weights = folder / "weights.pt"
        if not weights.is_file():
            raise StudentError(f"{folder} holds no student. Run `clip2yolo train` first.")
        chosen = pick_device(device)
        used = pick_precision(precision, chosen)
        card = read_card(folder)
        model = load_checkpoint(weights)["model"].float()
        if tuple(model.names[index] for index in sorted(model.names)) != card.classes:
            raise StudentError(
                f"{weights} answers in other classes than student.json beside it says. Train again."
            )
        name = architecture(model, card)
        unlike = Unlike.load(folder, len(card.classes))
        if used == "bf16":
            known = unlike is not None  # or it is of an earlier version, and all else with it
            tried = Unlike.load(folder, len(card.classes), IN_BF16) if known else None
            used = "bf16" if tried is not None or precision == "bf16" else "fp32"
            unlike = tried or unlike
        return cls(name, model, card.classes, card.imgsz, weights, chosen, card.fit, unlike, used)

    @classmethod
    def of_weights(cls, name: str, device: str = "auto", precision: Asked = "fp32") -> Student:
        """Open any classification weights that ultralytics saved, with the classes and the size
        that they say of themselves; a size that is not said is ultralytics' own default. Those
        of other trainings see the middle of a picture, as ultralytics crops it.

        Args:
            name: an absolute path, or weights that ultralytics publishes.
            precision: as for `load`; "auto" is fp32, since nobody has tried these in another.

        Raises:
            StudentError: there are none, they do not classify, or the device is absent or does not
                multiply bf16.
        """
        from pipeline.yolo.geometry import fit_of
        from pipeline.yolo.library import open_weights

        chosen = pick_device(device)
        used = pick_precision("fp32" if precision == "auto" else precision, chosen)
        given = open_weights(name)
        names = given.model.names
        classes = tuple(str(names[index]) for index in range(len(names)))
        fit = fit_of(given.model, given.imgsz)
        return cls(
            given.file.stem, given.model, classes, given.imgsz, given.file, chosen, fit,
            precision=used,
        )  # fmt: skip

    @property
    def last_layer(self) -> tuple[np.ndarray, np.ndarray]:
        """Its weights (classes, features) and bias (classes,), float32."""
        layer = self._decide
        return layer.weight.float().cpu().numpy(), layer.bias.float().cpu().numpy()

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return float32 (3, imgsz, imgsz) of an RGB image, as the training validated on it and as
        ultralytics prepares one for prediction with these weights."""
        return self._preparation.pixels(image)

    def predict(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return probabilities (n, classes) float32 for prepared images, (3, H, W) each."""
        return self.see(batch)[0]

    def see(self, batch: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities (n, classes) and the features (n, features) that they are made of,
        both float32."""
        import torch

        with torch.inference_mode():
            # Stacked as they lie in memory: prepared pictures become channels-last.
            images = torch.from_numpy(np.stack(batch)).to(self.device, self._dtype)
            # Of what answers, the softmax comes first, and then what it is of.
            features = self._model(images)[1].float()
            probabilities = self._decide(features).softmax(1)
            return probabilities.cpu().numpy(), features.cpu().numpy()

    def evidence(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return what each place of prepared images, (3, H, W) each, adds to each class's logit:
        float32 (n, classes, h, w), see `where.evidence`."""
        import torch

        from pipeline.student.where import evidence

        with torch.inference_mode():
            images = torch.from_numpy(np.stack(batch)).to(self.device, self._dtype)
            return evidence(self._model, self._decide, images).cpu().numpy()


class Refusing(Predictor):
    """A student that may answer that a picture is none of its classes; see `unlike`.

    Args:
        student: who is asked.
        refuse: share of pictures of its classes that may be turned away; "auto" is one in twenty.

    Raises:
        StudentError: the student does not know what is unlike its classes.
    """

    def __init__(self, student: Seeing, refuse: Refuse = "auto") -> None:
        threshold = None if student.unlike is None else student.unlike.threshold(refuse)
        if student.unlike is None or threshold is None:
            why, remedy = "it was trained before students could", "Train it again"
            if student.unlike is not None:
                why = f"fewer than {FEWEST} images of the valid split were there to learn it from"
                remedy = "Add images, and train it again"
            raise StudentError(
                f"This student cannot say that a picture is {NONE}: {why}. {remedy}."
            )
        self._student, self._unlike = student, student.unlike
        self.threshold = threshold
        self.name, self.device, self.streams = student.name, student.device, student.streams
        self.classes = (*student.classes, NONE)
        self.parameters, self.file_bytes = student.parameters, student.file_bytes

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return what `predict` takes of an RGB image, as the student itself does."""
        return self._student.prepare(image)

    def judge(self, batch: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the student's probabilities (n, its classes), and how unlike any of its classes
        each picture is, (n,) from 0 to 1: none of them beyond `threshold`."""
        probabilities, features = self._student.see(batch)
        return probabilities, self._unlike.scores(features)

    def predict(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 (n, classes): of a picture that is none of the student's classes, that
        for certain; of another the student's probabilities."""
        probabilities, scores = self.judge(batch)
        none = scores > self.threshold
        shares = np.where(none[:, np.newaxis], 0, probabilities)
        answers: np.ndarray = np.column_stack([shares, none]).astype(np.float32)
        return answers
