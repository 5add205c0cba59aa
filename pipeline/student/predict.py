"""Asking a trained student."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.errors import StudentError
from pipeline.records import Predictor
from pipeline.student.card import architecture, read_card


class Student(Predictor):
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
    ) -> None:
        from pipeline.yolo.geometry import Preparation

        self.name = name
        self.classes = classes
        self.parameters = sum(weight.numel() for weight in model.parameters())
        self.file_bytes = file.stat().st_size
        self.device = device
        # Convolution and batch norm become one; the answers stay, the time falls.
        self._model = model.eval().requires_grad_(False).fuse(verbose=False).to(device)
        self._preparation = Preparation(fit, imgsz)

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> Student:
        """Open the student that `train` put into `folder`.

        Raises:
            StudentError: there is none, its files do not belong together, or the device is absent.
        """
        from pipeline.machine import pick_device
        from pipeline.yolo.library import load_checkpoint

        weights = folder / "weights.pt"
        if not weights.is_file():
            raise StudentError(f"{folder} holds no student. Run `clip2yolo train` first.")
        card = read_card(folder)
        model = load_checkpoint(weights)["model"].float()
        if tuple(model.names[index] for index in sorted(model.names)) != card.classes:
            raise StudentError(
                f"{weights} answers in other classes than student.json beside it says. Train again."
            )
        name = architecture(model, card)
        chosen = pick_device(device)
        return cls(name, model, card.classes, card.imgsz, weights, chosen, card.fit)

    @classmethod
    def of_weights(cls, name: str, device: str = "auto") -> Student:
        """Open any classification weights that ultralytics saved, with the classes and the size
        that they say of themselves; a size that is not said is ultralytics' own default. Those
        of other trainings see the middle of a picture, as ultralytics crops it.

        Args:
            name: an absolute path, or weights that ultralytics publishes.

        Raises:
            StudentError: there are none, they do not classify, or the device is absent.
        """
        from pipeline.machine import pick_device
        from pipeline.yolo.geometry import fit_of
        from pipeline.yolo.library import open_weights

        given = open_weights(name)
        names = given.model.names
        classes = tuple(str(names[index]) for index in range(len(names)))
        fit, chosen = fit_of(given.model, given.imgsz), pick_device(device)
        return cls(given.file.stem, given.model, classes, given.imgsz, given.file, chosen, fit)

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return float32 (3, imgsz, imgsz) of an RGB image, as the training validated on it and as
        ultralytics prepares one for prediction with these weights."""
        return self._preparation(image).numpy()

    def predict(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return probabilities (n, classes) float32 for prepared images, (3, H, W) each."""
        import torch

        with torch.inference_mode():
            images = torch.from_numpy(np.stack(batch)).to(self.device)
            answers = self._model(images)
            probabilities = answers[0] if isinstance(answers, (list, tuple)) else answers
            return probabilities.float().cpu().numpy()  # type: ignore[no-any-return]
