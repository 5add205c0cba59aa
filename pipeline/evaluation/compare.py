"""Teacher, student and chance through one evaluator, on the same held-out images.

A match with a person's label is called accuracy, a match with the teacher agreement; neither ever
stands for the other. The result is what `evaluation.json` holds.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline import __version__
from pipeline.evaluation.measure import Latency
from pipeline.evaluation.metrics import (
    Proportion,
    accuracy,
    agreement,
    calibration_error,
    class_figures,
    confusion_matrix,
    macro_f1,
    mcnemar_p,
    proportion,
)
from pipeline.machine import cores
from pipeline.records import Prediction, Predictor

FORMAT = 1  # of evaluation.json: raised when a name in it changes its meaning
_THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class HeldOut:
    """The images to compare on; the student was neither trained nor chosen on any of them."""

    ids: Sequence[str]
    paths: Sequence[Path]
    truth: np.ndarray | None  # a person's class index for each (n,), or None where nobody labeled
    source: str  # where they come from, in words
    excluded: Mapping[str, int] = field(default_factory=dict)  # reason → how many were left out


@dataclass(frozen=True)
class Contender:
    """A predictor, what it answered on the held-out images, and how fast it is."""

    predictor: Predictor
    prediction: Prediction
    latency: Latency


@dataclass(frozen=True)
class Member:
    """One of several teachers, and what it answered alone."""

    name: str
    weight: float  # its share of the common answer
    prediction: Prediction


def evaluate(
    classes: Sequence[str],
    held_out: HeldOut,
    teacher: Contender,
    student: Contender,
    training_counts: Mapping[str, int],
    labels: Mapping[str, Any],
    disagreements: int = 24,
    members: Sequence[Member] = (),
) -> dict[str, Any]:
    """Compare the student with its teacher and with chance.

    Args:
        classes: the classes that both answer in, in class order.
        held_out: at least one image.
        teacher: answers (n, classes), as `student`.
        training_counts: training images per class; chance always names the commonest of them.
        labels: what `label_figures` returned.
        disagreements: how many of the most confident ones to list.
        members: the teachers whose common answers `teacher` holds, where they are several.

    Returns:
        What evaluation.json holds: plain dicts, lists, numbers and None.

    Raises:
        ValueError: the contenders answered in other classes, or on another number of images.
    """
    for side in (teacher, student):
        if side.prediction.classes != tuple(classes):
            raise ValueError(f"{side.predictor.name} answers in {side.prediction.classes}")
        if len(side.prediction.probabilities) != len(held_out.ids):
            raise ValueError(f"{side.predictor.name} answered on another number of images")
    chance = _chance(classes, training_counts, len(held_out.ids))
    taught = teacher.prediction.probabilities.argmax(axis=1)
    learned = student.prediction.probabilities.argmax(axis=1)
    constant = chance.probabilities.argmax(axis=1)
    return {
        "format": FORMAT,
        "clip2yolo": __version__,
        "classes": list(classes),
        "held_out": {
            "source": held_out.source,
            "images": len(held_out.ids),
            "has_truth": held_out.truth is not None,
            "excluded": dict(held_out.excluded),
        },
        "teacher": {
            **_described(teacher),
            **answers(teacher.prediction, held_out.truth),
        },
        "teachers": [
            {
                "name": member.name,
                "weight": member.weight,
                **answers(member.prediction, held_out.truth),
                "agreement": _as_dict(
                    agreement(member.prediction.probabilities.argmax(axis=1), taught)
                ),
            }
            for member in members
        ],
        "student": {
            **_described(student),
            **answers(student.prediction, held_out.truth),
            "agreement": _as_dict(agreement(learned, taught)),
            "agreement_matrix": confusion_matrix(taught, learned, len(classes)).tolist(),
        },
        "chance": {
            "name": f"always {classes[int(constant[0])]!r}",
            **answers(chance, held_out.truth),
            "agreement": _as_dict(agreement(constant, taught)),
            "uniform": 1 / len(classes),
        },
        "comparison": _comparison(taught, learned, held_out.truth, teacher, student),
        "labels": dict(labels),
        "disagreements": _disagreements(
            classes, held_out, teacher.prediction, student.prediction, disagreements
        ),
        "machine": machine(),
    }


def answers(prediction: Prediction, truth: np.ndarray | None) -> dict[str, Any]:
    """Return what holds of one side's answers: figures against truth, or None where there is none.

    `confusion` has a person's label in its rows and the answer in its columns.
    """
    guesses = prediction.probabilities.argmax(axis=1)
    given = np.bincount(guesses, minlength=len(prediction.classes)).tolist()
    found: dict[str, Any] = {"answers": dict(zip(prediction.classes, given, strict=True))}
    if truth is None:
        return found | dict.fromkeys(
            ("accuracy", "macro_f1", "calibration_error", "per_class", "confusion")
        )
    confusion = confusion_matrix(truth, guesses, len(prediction.classes))
    return found | {
        "accuracy": _as_dict(accuracy(guesses, truth)),
        "macro_f1": macro_f1(confusion),
        "calibration_error": calibration_error(
            prediction.probabilities.max(axis=1), guesses == truth
        ),
        "per_class": {
            name: asdict(figures)
            for name, figures in zip(prediction.classes, class_figures(confusion), strict=True)
        },
        "confusion": confusion.tolist(),
    }


def label_figures(labels: pl.DataFrame, truth: Mapping[str, str]) -> dict[str, Any]:
    """Return how many labels there are and, where a person's labels exist, how right they are.

    Args:
        labels: labels.parquet.
        truth: id → class, for any of the images.

    Returns:
        Counts by decision; `accuracy` of the accepted labels; `thresholds`, what the teacher's
        guesses would be worth at other values of `min_confidence`.
    """
    decisions = dict(labels.group_by("decision").len().iter_rows())
    known = labels.with_columns(
        pl.col("id").replace_strict(truth, default=None, return_dtype=pl.String).alias("truth")
    ).filter(pl.col("truth").is_not_null())
    accepted = known.filter(pl.col("decision") == "accepted")
    thresholds = []
    for threshold in _THRESHOLDS if len(known) else ():
        kept = known.filter(pl.col("confidence") >= threshold)
        right = proportion(int((kept["guess"] == kept["truth"]).sum()), len(kept))
        thresholds.append(
            {
                "min_confidence": threshold,
                "kept": len(kept) / len(known),
                "accuracy": _as_dict(right),
            }
        )
    return {
        "images": len(labels),
        "accepted": decisions.get("accepted", 0),
        "abstained": decisions.get("abstained", 0),
        "human": decisions.get("human", 0),
        "accuracy": _as_dict(
            proportion(int((accepted["class"] == accepted["truth"]).sum()), len(accepted))
        ),
        "thresholds": thresholds,
    }


def machine() -> dict[str, Any]:
    """Return what the speeds were measured on."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # only Linux has it; the platform's own word stands
    return {
        "processor": name,
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _described(side: Contender) -> dict[str, Any]:
    predictor = side.predictor
    return {
        "name": predictor.name,
        "parameters": predictor.parameters,
        "file_bytes": predictor.file_bytes,
        **side.latency.as_dict(),
    }


def _chance(classes: Sequence[str], counts: Mapping[str, int], images: int) -> Prediction:
    """What somebody says who knows the training labels' shares and never looks at a picture."""
    shares = np.array([counts.get(name, 0) for name in classes], np.float32)
    shares = shares / shares.sum() if shares.sum() else np.full_like(shares, 1 / len(classes))
    return Prediction(tuple(classes), np.tile(shares, (images, 1)))


def _comparison(
    taught: np.ndarray,
    learned: np.ndarray,
    truth: np.ndarray | None,
    teacher: Contender,
    student: Contender,
) -> dict[str, Any]:
    """Both on the same images: who alone is right how often, and how much faster the student is."""
    paired: dict[str, Any] = dict.fromkeys(("only_teacher_right", "only_student_right", "p_value"))
    if truth is not None:
        right_teacher, right_student = taught == truth, learned == truth
        only_teacher = int((right_teacher & ~right_student).sum())
        only_student = int((right_student & ~right_teacher).sum())
        paired = {
            "only_teacher_right": only_teacher,
            "only_student_right": only_student,
            "p_value": mcnemar_p(only_teacher, only_student),
        }
    slow, fast = teacher.latency, student.latency
    return paired | {
        "speedup": {
            "end_to_end": slow.end_to_end.median / fast.end_to_end.median,
            "model_only": slow.model_only.median / fast.model_only.median,
            "throughput": fast.throughput / slow.throughput,
        }
    }


def _disagreements(
    classes: Sequence[str],
    held_out: HeldOut,
    teacher: Prediction,
    student: Prediction,
    limit: int,
) -> list[dict[str, Any]]:
    """The images on which teacher, student and truth differ, the surest wrong answer first.

    Without truth nobody knows which answer is wrong; then the less sure of the two counts.
    """
    taught, learned = (side.probabilities.argmax(axis=1) for side in (teacher, student))
    sure = [side.probabilities.max(axis=1).astype(float) for side in (teacher, student)]
    if held_out.truth is None:
        differ = taught != learned
        weight = np.minimum(*sure)
    else:
        wrong = [taught != held_out.truth, learned != held_out.truth]
        differ = wrong[0] | wrong[1]
        weight = np.maximum(np.where(wrong[0], sure[0], 0), np.where(wrong[1], sure[1], 0))
    rows = [row for row in np.argsort(-weight, kind="stable").tolist() if differ[row]][:limit]
    return [
        {
            "id": held_out.ids[row],
            "path": str(held_out.paths[row]),
            "truth": None if held_out.truth is None else classes[int(held_out.truth[row])],
            "teacher": classes[int(taught[row])],
            "teacher_confidence": float(sure[0][row]),
            "student": classes[int(learned[row])],
            "student_confidence": float(sure[1][row]),
        }
        for row in rows
    ]


def _as_dict(figure: Proportion | None) -> dict[str, float] | None:
    return None if figure is None else figure.as_dict()
