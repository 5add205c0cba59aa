"""How well a student knows what is none of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.errors import SourceError
from pipeline.evaluation.measure import predict_files
from pipeline.evaluation.metrics import area_under_roc, proportion
from pipeline.evaluation.record import Rejection
from pipeline.listener import Progress, no_progress
from pipeline.records import Prediction, Predictor
from pipeline.storage.address import Place
from pipeline.student import Refusing
from pipeline.student.predict import Seeing
from pipeline.student.unlike import Refuse


@dataclass(frozen=True)
class Scored:
    """What a student answered, and how unlike its classes it found each picture."""

    prediction: Prediction
    unlike: np.ndarray | None  # (n,) from 0 to 1; None of a student that does not know


def ask_student(
    student: Seeing, paths: Sequence[Place], max_pixels: int, progress: Progress = no_progress
) -> Scored:
    """Return a student's answers on image files, in their order.

    Raises:
        SourceError: as `predict_files`.
    """
    if not student.can_refuse:
        found = predict_files(student, paths, max_pixels=max_pixels, progress=progress)
        return Scored(found, None)
    both = predict_files(_Scoring(student), paths, max_pixels=max_pixels, progress=progress)
    shares, scores = both.probabilities[:, :-1], both.probabilities[:, -1]
    return Scored(Prediction(student.classes, shares), scores)


class _Scoring(Predictor):
    """A student whose score stands in a last column, beside the probabilities."""

    def __init__(self, student: Seeing) -> None:
        self._refusing = Refusing(student)
        self.name, self.device, self.classes = student.name, student.device, self._refusing.classes
        self.parameters, self.file_bytes = student.parameters, student.file_bytes
        self.streams = student.streams

    def prepare(self, image: Image.Image) -> np.ndarray:
        return self._refusing.prepare(image)

    def predict(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        return np.column_stack(self._refusing.judge(batch))


def rejection(
    student: Seeing,
    scored: Scored,
    right: np.ndarray | None,
    others: Sequence[Place],
    most: int,
    refuse: Refuse = "auto",
) -> Rejection | None:
    """Return how well a student knows what is none of its classes; None for one that does not.

    Args:
        student: whose answers these are.
        scored: on the held-out images, all of which are of its classes.
        right: whether it is right on each, (n,); None without truth.
        others: images of no class of it; those that cannot be read are left out.
        most: pixels of an image.
        refuse: share of pictures of its classes that may be turned away.
    """
    if scored.unlike is None:
        return None
    threshold = Refusing(student, refuse).threshold
    answered = scored.unlike <= threshold
    strange = _scores(student, others, most)
    return Rejection(
        threshold=threshold,
        kept=proportion(int(answered.sum()), len(answered)),
        kept_accuracy=None
        if right is None
        else proportion(int((right & answered).sum()), int(answered.sum())),
        turned_away=proportion(int((strange > threshold).sum()), len(strange)),
        area=area_under_roc(scored.unlike, strange),
    )


def _scores(student: Seeing, paths: Sequence[Place], most: int) -> np.ndarray:
    found = []
    for path in paths:
        try:
            scored = ask_student(student, [path], most)
        except SourceError:
            continue
        if scored.unlike is not None:
            found.append(scored.unlike)
    return np.concatenate(found) if found else np.zeros(0, np.float32)
