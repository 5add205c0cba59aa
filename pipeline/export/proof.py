"""Whether an exported model answers as the student does, on images that it never learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.errors import StudentError
from pipeline.export.held_out import HeldOut
from pipeline.export.replay import Answers
from pipeline.shares import Difference, Proportion, mcnemar_p, paired_difference, proportion
from pipeline.values import counted

NEEDED = {"fp32": 0.995, "fp16": 0.995, "int8": 0.98}  # agreement on the likeliest class
_MARGIN = 0.01  # of accuracy, by which an export may be worse
_SURE = 0.05  # the p-value below which a difference is no chance
_ENOUGH = 100  # images whose class is known, for accuracy to overrule agreement
_WORST = 5


@dataclass(frozen=True)
class Worst:
    """One of the images on which the two differ most."""

    image: str
    student: str  # class, with its probability
    student_probability: float
    export: str
    export_probability: float
    difference: float  # the largest of a probability
    truth: str | None


@dataclass(frozen=True)
class Paired:
    """Export and student on the images whose class is known."""

    images: int
    only_export_right: int
    only_student_right: int
    p_value: float  # of McNemar's exact test
    difference: Difference  # of accuracy, export minus student


@dataclass(frozen=True)
class Proof:
    """What comes of asking both; proof.json."""

    passed: bool
    sentence: str
    images: int  # that both answered
    unreadable: int
    agreement: Proportion
    needed: float  # of it
    largest_difference: float  # of a probability
    none_agreement: Proportion | None  # on whether a picture is none of the classes
    truth: bool  # whether the class of some of the images is known
    accuracy: Proportion | None
    student_accuracy: Proportion | None
    paired: Paired | None
    worst: list[Worst]

    def as_json(self) -> dict[str, Any]:
        """Return what is written of it."""
        return asdict(self)


def prove(name: str, precision: str, student: Answers, export: Answers, images: HeldOut) -> Proof:
    """Compare an export's answers with the student's.

    At fp32 and fp16 the likeliest class must be the same on 99.5 % of the images, at int8 on 98 %.
    Where the class of a hundred images or more is known, accuracy can overrule that of int8: it
    passes with less where it is at most a point less accurate and the paired test finds no
    difference, and fails with more where it is surely worse by more than a point.

    Args:
        name: of the export, for the sentence.
        precision: fp32, fp16 or int8.
        student: its answers in PyTorch.
        export: the exported model's.
        images: that both were asked about.

    Raises:
        StudentError: there is no image that both could read, or their classes differ.
    """
    if student.classes != export.classes:
        raise StudentError(f"{name} answers in another order of classes than the student.")
    both = [
        row
        for row in range(len(images.paths))
        if student.shares[row] is not None and export.shares[row] is not None
    ]
    if not both:
        raise StudentError(
            f"There is no held-out image to prove {name} on. Give `truth:` a labeled folder, or "
            "`dataset: {splits: …}` a test part, and run `clip2yolo run`."
        )
    first, second = (
        np.stack([share for row in both if (share := answers.shares[row]) is not None])
        for answers in (student, export)
    )
    left, right = first.argmax(axis=1), second.argmax(axis=1)
    agreement = proportion(int((left == right).sum()), len(both))
    assert agreement is not None  # there are images
    apart = np.abs(first - second).max(axis=1)
    truth = [images.truth[row] for row in both]
    accuracy, student_accuracy, paired = _against_truth(student.classes, truth, left, right)
    unlike = [
        (student.none[row], export.none[row]) for row in both if student.none[row] is not None
    ]
    none = proportion(sum(one == other for one, other in unlike), len(unlike))
    passed, sentence = _verdict(name, precision, agreement, paired)
    order = sorted(range(len(both)), key=lambda at: (left[at] == right[at], -apart[at]))
    return Proof(
        passed=passed,
        sentence=sentence,
        images=len(both),
        unreadable=len(images.paths) - len(both),
        agreement=agreement,
        needed=NEEDED[precision],
        largest_difference=float(apart.max()),
        none_agreement=none,
        truth=accuracy is not None,
        accuracy=accuracy,
        student_accuracy=student_accuracy,
        paired=paired,
        worst=[
            Worst(
                image=str(images.paths[both[at]]),
                student=student.classes[left[at]],
                student_probability=float(first[at, left[at]]),
                export=student.classes[right[at]],
                export_probability=float(second[at, right[at]]),
                difference=float(apart[at]),
                truth=truth[at],
            )
            for at in order[:_WORST]
            if apart[at] > 0
        ],
    )


def _against_truth(
    classes: tuple[str, ...], truth: Sequence[str | None], left: np.ndarray, right: np.ndarray
) -> tuple[Proportion | None, Proportion | None, Paired | None]:
    """The export's accuracy, the student's, and the two compared; None without truth."""
    rows = [row for row, name in enumerate(truth) if name is not None]
    if not rows:
        return None, None, None
    known = np.array([classes.index(name) for name in truth if name is not None])
    by_student, by_export = left[rows] == known, right[rows] == known
    counts = [
        int(cases.sum())
        for cases in (
            by_export & by_student,
            by_export & ~by_student,
            ~by_export & by_student,
            ~by_export & ~by_student,
        )
    ]
    paired = Paired(
        len(rows), counts[1], counts[2], mcnemar_p(*counts[1:3]), paired_difference(*counts)
    )
    accuracies = (proportion(int(one.sum()), len(rows)) for one in (by_export, by_student))
    return next(accuracies), next(accuracies), paired


def _verdict(
    name: str, precision: str, agreement: Proportion, paired: Paired | None
) -> tuple[bool, str]:
    """Whether an export may be used, and why."""
    needed = NEEDED[precision]
    says = (
        f"{name} gives the student's answer on {agreement.value:.1%} of "
        f"{counted(agreement.n, 'held-out image')}"
    )
    enough = agreement.value >= needed
    passed = enough
    if precision == "int8" and paired is not None:
        known = paired.difference
        points = f"{known.value * 100:+.1f} points of accuracy"
        between = f"{known.low * 100:+.1f} to {known.high * 100:+.1f} with 95 % confidence"
        if enough and known.value < -_MARGIN and known.high < 0:
            return False, f"{says}, and yet is worse: {points} ({between})."
        if not enough and _as_accurate(paired):
            return (
                True,
                f"{says}, less than {needed:.1%}, and is as accurate: {points} ({between}).",
            )
    if passed:
        return True, f"{says}."
    return False, f"{says}; it must be {needed:.1%}."


def _as_accurate(paired: Paired) -> bool:
    near = paired.difference.value >= -_MARGIN and paired.p_value >= _SURE
    return near and paired.images >= _ENOUGH
