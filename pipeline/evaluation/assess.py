"""Teacher, student and chance through one evaluator, on the same held-out images."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.costs import Costs
from pipeline.evaluation.label_record import LabelFigures
from pipeline.evaluation.latency import Latency
from pipeline.evaluation.metrics import (
    accuracy,
    agreement,
    calibration_error,
    class_figures,
    confusion_matrix,
    macro_f1,
    mcnemar_p,
)
from pipeline.evaluation.record import (
    Answers,
    Chance,
    Comparison,
    Contender,
    Disagreement,
    Evaluation,
    HeldOutFigures,
    Machine,
    Member,
    Precision,
    Speedup,
)
from pipeline.evaluation.reliability import reliability_of
from pipeline.machine import cores
from pipeline.records import Prediction, Predictor


@dataclass(frozen=True)
class HeldOut:
    """The images to compare on; the student was neither trained nor chosen on any of them."""

    ids: Sequence[str]
    paths: Sequence[str]
    truth: np.ndarray | None  # a person's class index for each (n,), or None where nobody labeled
    source: str  # where they come from, in words
    excluded: Mapping[str, int] = field(default_factory=dict)  # reason → how many were left out


@dataclass(frozen=True)
class Measured:
    """A predictor, what it answered on the held-out images, and how fast it is."""

    predictor: Predictor
    prediction: Prediction
    latency: Latency
    precision: Precision | None = None
    kind: str | None = None  # of `record.KINDS`; None: what it is called among the contenders
    format: str | None = None  # of the weights
    costs: Costs = field(default_factory=Costs)

    @property
    def guesses(self) -> np.ndarray:
        """The index of the most probable class, (n,)."""
        return self.prediction.probabilities.argmax(axis=1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Alone:
    """One of several teachers, and what it answered alone."""

    name: str
    weight: float  # its share of the common answer
    prediction: Prediction


def assess(
    classes: Sequence[str],
    held_out: HeldOut,
    contenders: Mapping[str, Measured],
    training_counts: Mapping[str, int],
    labels: LabelFigures,
    disagreements: int = 24,
    members: Sequence[Alone] = (),
) -> Evaluation:
    """Compare the student, and whoever else answered, with the teacher and with chance.

    Args:
        classes: the classes that all answer in, in class order.
        held_out: at least one image.
        contenders: by kind, or by any name where several have one and say so; the first is the
            teacher, the second the student. Each answered with probabilities (n, classes).
        training_counts: training images per class; chance always names the commonest of them.
        labels: what `label_figures` returned.
        disagreements: how many of the most confident ones to list.
        members: the teachers whose common answers the first contender holds, where they are
            several.

    Raises:
        ValueError: a contender answered in other classes, or on another number of images.
    """
    for side in contenders.values():
        if side.prediction.classes != tuple(classes):
            raise ValueError(f"{side.predictor.name} answers in {side.prediction.classes}")
        if len(side.prediction.probabilities) != len(held_out.ids):
            raise ValueError(f"{side.predictor.name} answered on another number of images")
    teacher, student = list(contenders.values())[:2]
    truth, taught = held_out.truth, teacher.guesses
    return Evaluation(
        classes=list(classes),
        held_out=HeldOutFigures(
            held_out.source, len(held_out.ids), truth is not None, dict(held_out.excluded)
        ),
        contenders=[_contender(kind, side, teacher, truth) for kind, side in contenders.items()],
        chance=_chance(classes, training_counts, taught, truth),
        members=[
            Member(
                **_answers(member.prediction, truth),
                name=member.name,
                weight=member.weight,
                agreement=agreement(member.prediction.probabilities.argmax(axis=1), taught),
            )
            for member in members
        ],
        labels=labels,
        disagreements=_disagreements(classes, held_out, teacher, student, disagreements),
        machine=_machine(),
        reliability=reliability_of(teacher.prediction, student.prediction, truth, labels),
    )


def _answers(prediction: Prediction, truth: np.ndarray | None) -> dict[str, Any]:
    """The fields of `record.Answers`."""
    guesses = prediction.probabilities.argmax(axis=1)
    given = np.bincount(guesses, minlength=len(prediction.classes)).tolist()
    answers = dict(zip(prediction.classes, given, strict=True))
    if truth is None:
        return vars(Answers(answers, None, None, None, None, None))
    confusion = confusion_matrix(truth, guesses, len(prediction.classes))
    sure = prediction.probabilities.max(axis=1)
    figures = zip(prediction.classes, class_figures(confusion), strict=True)
    found = Answers(
        answers=answers,
        accuracy=accuracy(guesses, truth),
        macro_f1=macro_f1(confusion),
        calibration_error=calibration_error(sure, guesses == truth),
        per_class=dict(figures),
        confusion=confusion.tolist(),
    )
    return vars(found)


def _contender(kind: str, side: Measured, teacher: Measured, truth: np.ndarray | None) -> Contender:
    is_teacher = side is teacher
    classes = len(side.prediction.classes)
    taught, own = teacher.guesses, side.guesses
    return Contender(
        **_answers(side.prediction, truth),
        kind=side.kind or kind,
        name=side.predictor.name,
        parameters=side.predictor.parameters,
        file_bytes=side.predictor.file_bytes,
        latency=side.latency,
        agreement=None if is_teacher else agreement(own, taught),
        agreement_matrix=None if is_teacher else confusion_matrix(taught, own, classes).tolist(),
        comparison=None if is_teacher else _comparison(side, teacher, truth),
        precision=side.precision,
        format=side.format,
        **vars(side.costs),
    )


def _comparison(side: Measured, teacher: Measured, truth: np.ndarray | None) -> Comparison:
    """Both on the same images: who alone is right how often, and how much faster the one is."""
    slow, fast = teacher.latency, side.latency
    speedup = Speedup(
        end_to_end=slow.end_to_end.median / fast.end_to_end.median,
        model_only=slow.model_only.median / fast.model_only.median,
        throughput=fast.throughput / slow.throughput,
    )
    if truth is None:
        return Comparison(None, None, None, speedup)
    teacher_right, side_right = teacher.guesses == truth, side.guesses == truth
    only_teacher = int((teacher_right & ~side_right).sum())
    only_student = int((side_right & ~teacher_right).sum())
    return Comparison(only_teacher, only_student, mcnemar_p(only_teacher, only_student), speedup)


def _chance(
    classes: Sequence[str],
    counts: Mapping[str, int],
    taught: np.ndarray,
    truth: np.ndarray | None,
) -> Chance:
    shares = np.array([counts.get(name, 0) for name in classes], np.float32)
    shares = shares / shares.sum() if shares.sum() else np.full_like(shares, 1 / len(classes))
    always = Prediction(tuple(classes), np.tile(shares, (len(taught), 1)))
    commonest = int(shares.argmax())
    return Chance(
        **_answers(always, truth),
        name=f"always {classes[commonest]!r}",
        agreement=agreement(np.full(len(taught), commonest), taught),
        uniform=1 / len(classes),
    )


def _disagreements(
    classes: Sequence[str], held_out: HeldOut, teacher: Measured, student: Measured, limit: int
) -> list[Disagreement]:
    """The images on which teacher, student and truth differ, the surest wrong answer first.

    Without truth nobody knows which answer is wrong; then the less sure of the two counts.
    """
    taught, learned = teacher.guesses, student.guesses
    sides = (teacher, student)
    sure = [side.prediction.probabilities.max(axis=1).astype(float) for side in sides]
    truth = held_out.truth
    if truth is None:
        differ = taught != learned
        weight = np.minimum(*sure)
    else:
        wrong = [taught != truth, learned != truth]
        differ = wrong[0] | wrong[1]
        weight = np.maximum(np.where(wrong[0], sure[0], 0), np.where(wrong[1], sure[1], 0))
    rows = [row for row in np.argsort(-weight, kind="stable").tolist() if differ[row]][:limit]
    return [
        Disagreement(
            id=held_out.ids[row],
            path=str(held_out.paths[row]),
            truth=None if truth is None else classes[int(truth[row])],
            teacher=classes[int(taught[row])],
            teacher_confidence=float(sure[0][row]),
            student=classes[int(learned[row])],
            student_confidence=float(sure[1][row]),
        )
        for row in rows
    ]


def _machine() -> Machine:
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # only Linux has it; the platform's own word stands
    system = f"{platform.system()} {platform.machine()}"
    return Machine(name, cores(), system, platform.python_version())
