"""How good answers are: proportions with intervals, F1, calibration, paired comparison.

Pure functions on arrays of class indices; nothing here knows whose answers they are. A figure that
does not exist (a share of nothing) is None and never NaN, so that all of them fit into JSON.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.shares import Proportion as Proportion
from pipeline.shares import mcnemar_p as mcnemar_p
from pipeline.shares import proportion as proportion

BINS = 15  # of confidence, as in Guo et al., 2017


@dataclass(frozen=True)
class ClassFigures:
    """One class: None where the share is one of nothing."""

    precision: float | None  # None: nobody was given this class
    recall: float | None  # None: it does not occur in the truth
    f1: float | None  # None: neither of both
    support: int  # how often it occurs in the truth


@dataclass(frozen=True)
class ConfidenceBin:
    """The answers with a confidence in (low, high]; None where there are none."""

    low: float
    high: float
    n: int
    confidence: float | None  # their mean confidence
    accuracy: float | None  # the share of them that is right


def accuracy(predicted: ArrayLike, truth: ArrayLike) -> Proportion | None:
    """Return the share of answers (n,) that equal a person's labels (n,)."""
    return _matches(predicted, truth)


def agreement(first: ArrayLike, second: ArrayLike) -> Proportion | None:
    """Return the share of cases on which two predictors say the same; it says nothing of truth."""
    return _matches(first, second)


def _matches(first: ArrayLike, second: ArrayLike) -> Proportion | None:
    left, right = np.asarray(first), np.asarray(second)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"answers of shapes {left.shape} and {right.shape} cannot be paired")
    return proportion(int((left == right).sum()), len(left))


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, classes: int) -> np.ndarray:
    """Return counts (classes, classes) int64: rows are the truth, columns the answers."""
    rows, columns = np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if rows.shape != columns.shape:
        raise ValueError(f"answers of shapes {rows.shape} and {columns.shape} cannot be paired")
    if len(rows) and (
        min(rows.min(), columns.min()) < 0 or max(rows.max(), columns.max()) >= classes
    ):
        raise ValueError(f"a class index lies outside 0…{classes - 1}")
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)


def class_figures(confusion: np.ndarray) -> list[ClassFigures]:
    """Return precision, recall, F1 and support of each class of a confusion matrix."""
    figures = []
    right, given, there = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    for hits, answers, support in zip(right.tolist(), given.tolist(), there.tolist(), strict=True):
        figures.append(
            ClassFigures(
                precision=hits / answers if answers else None,
                recall=hits / support if support else None,
                f1=2 * hits / (answers + support) if answers + support else None,
                support=support,
            )
        )
    return figures


def macro_f1(confusion: np.ndarray) -> float | None:
    """Return the mean F1 over the classes that occur in the truth; None where none does.

    A class that is absent from the truth has no recall, so it does not enter the mean by itself;
    answers that wrongly name it still cost the classes that they should have named. A class that
    occurs and is never answered counts as 0.
    """
    present = [c.f1 for c in class_figures(confusion) if c.support and c.f1 is not None]
    return sum(present) / len(present) if present else None


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> list[ConfidenceBin]:
    """Return what a reliability diagram shows: confidence beside accuracy in equal-width bins.

    Args:
        confidence: probability of the answer given, (n,), each in [0, 1].
        correct: whether that answer is right, (n,).
        bins: their number; the bin m of M covers (m/M, (m+1)/M], the first one also 0.
    """
    sure = np.asarray(confidence, dtype=np.float64)
    right = np.asarray(correct, dtype=bool)
    if sure.shape != right.shape:
        raise ValueError(f"{sure.shape} confidences for {right.shape} answers")
    edges = np.arange(bins + 1) / bins
    slots = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    counts = np.bincount(slots, minlength=bins).tolist()
    sums = np.bincount(slots, weights=sure, minlength=bins).tolist()
    hits = np.bincount(slots, weights=right, minlength=bins).tolist()
    return [
        ConfidenceBin(
            low=float(edges[slot]),
            high=float(edges[slot + 1]),
            n=n,
            confidence=sums[slot] / n if n else None,
            accuracy=hits[slot] / n if n else None,
        )
        for slot, n in enumerate(counts)
    ]


def calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float | None:
    """Return the expected calibration error (Guo et al., 2017, equation 3); None for no answers.

    It is the mean over all answers of |accuracy − confidence| of their bin: 0 where 80 % sure
    means right in 80 % of cases. Few answers per bin push it up, so compare it at equal n only.
    """
    filled = [slot for slot in reliability(confidence, correct, bins) if slot.n]
    total = sum(slot.n for slot in filled)
    if not total:
        return None
    gaps = (slot.n * abs((slot.accuracy or 0.0) - (slot.confidence or 0.0)) for slot in filled)
    return sum(gaps) / total


def area_under_roc(lower: ArrayLike, higher: ArrayLike) -> float | None:
    """Return how often a score of the second group is above one of the first, ties counted as half;
    None where a group is empty. It is the area under the ROC curve (Hanley and McNeil, 1982): 0.5
    is chance, 1 tells all of them apart.

    Args:
        lower: scores (n,) of those that should have the lower ones.
        higher: scores (m,) of the others.
    """
    first, second = np.sort(np.asarray(lower, np.float64)), np.asarray(higher, np.float64)
    if not len(first) or not len(second):
        return None
    below = np.searchsorted(first, second, side="left")
    upto = np.searchsorted(first, second, side="right")
    return float((below + upto).mean() / (2 * len(first)))
