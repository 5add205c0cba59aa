"""Whether somebody who is 80 % sure is right in 80 % of cases: teacher, labels and student."""

from __future__ import annotations

import numpy as np

from pipeline.evaluation.analysis_record import Reliability
from pipeline.evaluation.label_record import LabelFigures
from pipeline.evaluation.metrics import ConfidenceBin, reliability
from pipeline.records import Prediction


def reliability_of(
    teacher: Prediction, student: Prediction, truth: np.ndarray | None, labels: LabelFigures
) -> Reliability | None:
    """Return how far confidence can be believed, in the bins in which all calibration errors are
    computed; None without truth.

    Args:
        teacher: answers on the held-out images.
        student: answers on the same.
        truth: class indices (n,) of the same.
        labels: of other images, those that were labeled.
    """
    if truth is None:
        return None
    return Reliability(_bins(teacher, truth), labels.reliability, _bins(student, truth))


def _bins(prediction: Prediction, truth: np.ndarray) -> list[ConfidenceBin]:
    shares = prediction.probabilities
    return reliability(shares.max(axis=1), shares.argmax(axis=1) == truth)
