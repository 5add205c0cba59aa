"""How sure a student says it is: on the whole no surer than its labels.

What keeps a student to its early answers makes it surer with every epoch, and sharpened targets do
so, too. One number puts that right without changing an answer: logits are divided by a temperature
(Guo et al., 2017), the one at which the student's mean confidence on the images that it learned is
that of their labels. It is part of the weights' last layer, so that every format has it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from pipeline.student.lessons import Lessons
from pipeline.student.predict import Student
from pipeline.student.shown import features_of, some

_IMAGES = 5000  # that are asked at most
_MOST = 20.0  # logits are divided by


def soften(weights: Path, lessons: Lessons, device: str, max_pixels: int) -> float:
    """Make a student of soft labels no surer than these, on the images that it learned.

    Args:
        weights: of a finished training; the file is written again where there is something to do.
        lessons: what it learned.
        device: on which it is asked.
        max_pixels: larger pictures are refused.

    Returns:
        The temperature, 1 where the student is not surer than what it learned.

    Raises:
        SourceError: a picture cannot be read.
    """
    if lessons.believed is None:
        return 1.0
    rows = some(np.arange(len(lessons.believed)), _IMAGES)
    student = Student.of_weights(str(weights.absolute()), device)
    weight, bias = student.last_layer
    places = [lessons.samples["train"][row][0] for row in rows]
    logits = features_of(student, places, max_pixels) @ weight.T + bias
    temperature = fit_temperature(logits, float(lessons.believed[rows].max(axis=1).mean()))
    if temperature > 1:
        _divide(weights, temperature)
    return temperature


def fit_temperature(logits: np.ndarray, sure: float) -> float:
    """Return what logits (n, classes) are to be divided by for the mean of the likeliest class's
    probability to be `sure`: 1 where it is no more than that as it is, 20 at most."""

    def surer(temperature: float) -> float:
        return float(softmax(logits / temperature, axis=1).max(axis=1).mean()) - sure

    if surer(1.0) <= 0:
        return 1.0
    if surer(_MOST) >= 0:
        return _MOST
    return float(brentq(surer, 1.0, _MOST, xtol=1e-4))


def _divide(weights: Path, temperature: float) -> None:
    """Divide a student's logits, in its file."""
    import torch

    from pipeline.files import replacing
    from pipeline.yolo.library import load_checkpoint

    checkpoint = load_checkpoint(weights)
    last = checkpoint["model"].model[-1].linear
    with torch.no_grad():
        for values in (last.weight, last.bias):
            values.copy_(values.float() / temperature)
    with replacing(weights) as aside, aside.open("wb") as file:
        torch.save(checkpoint, file)
