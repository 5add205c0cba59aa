"""What an evaluation is: a frozen record, and the one place that knows it as JSON.

A match with a person's label is called accuracy, a match with the teacher agreement; neither ever
stands for the other. `evaluation.json` is read by other people's programs: the names at its top
level, and those of teacher and student, stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline import __version__
from pipeline.errors import WorkspaceError
from pipeline.evaluation.against import Against
from pipeline.evaluation.analysis_record import Activation, LookAlikes, Reliability, Slice
from pipeline.evaluation.label_record import LabelFigures, SuspectFigures
from pipeline.evaluation.latency import Latency
from pipeline.evaluation.metrics import ClassFigures, Proportion
from pipeline.labels.drift import Drift

FORMAT = 4  # of evaluation.json: raised when it must hold more, or a name changes its meaning

Part = TypeVar("Part")


@dataclass(frozen=True)
class Answers:
    """What holds of one side's answers; all but the first are None where there is no truth.

    `confusion` has a person's label in its rows and the answer in its columns.
    """

    answers: dict[str, int]  # class → how often it was given
    accuracy: Proportion | None
    macro_f1: float | None
    calibration_error: float | None
    per_class: dict[str, ClassFigures] | None
    confusion: list[list[int]] | None


@dataclass(frozen=True)
class Precision:
    """What a teacher computed with, and on how many images that changed no answer."""

    used: str
    agrees_with_fp32: Proportion | None


@dataclass(frozen=True)
class Speedup:
    """How many times as fast as the teacher."""

    end_to_end: float
    model_only: float
    throughput: float


@dataclass(frozen=True)
class Comparison:
    """A contender and the teacher on the same images: who alone is right how often."""

    only_teacher_right: int | None
    only_student_right: int | None
    p_value: float | None  # of McNemar's exact test; this and the two above None without truth
    speedup: Speedup


@dataclass(frozen=True)
class Contender(Answers):
    """One who answered on the held-out images: the teacher, the student, an exported format."""

    kind: str  # "teacher", "student", or a format's name
    name: str
    parameters: int
    file_bytes: int | None
    latency: Latency
    agreement: Proportion | None  # with the teacher; this and the next two None for the teacher
    agreement_matrix: list[list[int]] | None  # rows: the teacher's answer
    comparison: Comparison | None
    precision: Precision | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in evaluation.json: the figures of speed beside the others."""
        known = asdict(self)
        del known["latency"]
        return known | self.latency.as_json()

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Contender:
        """Read what `as_json` wrote."""
        return _part(cls, {**known, "latency": Latency.from_json(known)})


@dataclass(frozen=True)
class Member(Answers):
    """One of several teachers, alone."""

    name: str
    weight: float  # its share of the common answer
    agreement: Proportion | None  # with the common answer


@dataclass(frozen=True)
class Chance(Answers):
    """Somebody who knows the shares of the training labels and never looks at a picture."""

    name: str
    agreement: Proportion | None
    uniform: float  # the accuracy of guessing blindly among the classes


@dataclass(frozen=True)
class HeldOutFigures:
    """The images that were compared on."""

    source: str  # where they come from, in words
    images: int
    has_truth: bool
    excluded: dict[str, int]  # reason → how many were left out


@dataclass(frozen=True)
class Disagreement:
    """An image on which teacher, student and truth differ."""

    id: str
    path: str
    truth: str | None
    teacher: str
    teacher_confidence: float
    student: str
    student_confidence: float


@dataclass(frozen=True)
class Rejection:
    """How well the student knows what is none of its classes. Scores are from 0 to 1."""

    threshold: float  # the score above which it answers none of these
    kept: Proportion | None  # of the held-out images, which are of its classes: answered
    kept_accuracy: Proportion | None  # of those: right; None without truth
    turned_away: Proportion | None  # of the images of no class; None where the truth has none
    area: float | None  # under the ROC curve, of both groups' scores; 0.5 is chance


@dataclass(frozen=True)
class Machine:
    """What the speeds were measured on."""

    processor: str
    cores: int
    system: str
    python: str


@dataclass(frozen=True)
class GateResult:
    """Whether a student keeps a gate, and a sentence for people."""

    gate: str
    limit: str
    value: float | None
    low: float | None
    high: float | None
    passed: bool
    sentence: str


@dataclass(frozen=True)
class Outcome:
    """What becomes of the student."""

    student: str  # its name among those that are kept
    promoted: bool  # whether it is in use now
    reason: str  # a sentence


@dataclass(frozen=True)
class Evaluation:
    """Teacher, student and chance on the same held-out images."""

    classes: list[str]  # in class order
    held_out: HeldOutFigures
    contenders: list[Contender]  # the teacher, the student, and whoever else joined
    chance: Chance
    members: list[Member]  # the teachers, where they are several
    labels: LabelFigures
    disagreements: list[Disagreement]
    machine: Machine
    against: Against | None = None  # the student in use before
    gates: list[GateResult] = ()  # type: ignore[assignment]
    outcome: Outcome | None = None
    drift: Drift | None = None
    rejection: Rejection | None = None  # None for a student that cannot
    suspects: SuspectFigures | None = None  # None: nobody looked for them
    reliability: Reliability | None = None  # None without truth
    slices: list[Slice] = ()  # type: ignore[assignment]  # all that were looked at, the worst first
    look_alikes: LookAlikes | None = None  # None: nothing was looked for
    activations: list[Activation] = ()  # type: ignore[assignment]  # of the student's mistakes

    @property
    def teacher(self) -> Contender:
        """Who labeled."""
        return self.contenders[0]

    @property
    def student(self) -> Contender:
        """Who learned."""
        return self.contenders[1]

    @property
    def comparison(self) -> Comparison:
        """The student beside its teacher."""
        assert self.student.comparison is not None  # only the teacher has none
        return self.student.comparison

    def as_json(self) -> dict[str, Any]:
        """Return what evaluation.json holds: plain dicts, lists, numbers and None."""
        contenders = [one.as_json() for one in self.contenders]
        return {
            "format": FORMAT,
            "clip2yolo": __version__,
            "classes": self.classes,
            "held_out": asdict(self.held_out),
            "teacher": contenders[0],
            "student": contenders[1],
            "chance": asdict(self.chance),
            "teachers": [asdict(one) for one in self.members],
            "contenders": contenders,
            "comparison": asdict(self.comparison),
            "labels": asdict(self.labels),
            "disagreements": [asdict(one) for one in self.disagreements],
            "machine": asdict(self.machine),
            "against": None if self.against is None else self.against.as_json(),
            "gates": [asdict(one) for one in self.gates],
            "outcome": None if self.outcome is None else asdict(self.outcome),
            "drift": None if self.drift is None else asdict(self.drift),
            "rejection": None if self.rejection is None else asdict(self.rejection),
            "suspects": None if self.suspects is None else asdict(self.suspects),
            "reliability": None if self.reliability is None else asdict(self.reliability),
            "slices": [asdict(one) for one in self.slices],
            "look_alikes": None if self.look_alikes is None else asdict(self.look_alikes),
            "activations": [asdict(one) | {"box": list(one.box)} for one in self.activations],
        }

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Evaluation:
        """Read what `as_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        if known["format"] != FORMAT:
            raise ValueError(f"format {known['format']}")
        contenders = [Contender.from_json(one) for one in known["contenders"]]
        return _part(
            cls,
            # Evaluations of before students could reject, or were looked at so closely, say
            # nothing of it.
            {
                **{"rejection": None, "reliability": None, "slices": []},
                **{"look_alikes": None, "activations": []},
                **known,
                "contenders": contenders,
                "members": known["teachers"],
            },
        )


def read_evaluation(file: Path) -> Evaluation:
    """Read evaluation.json.

    Raises:
        WorkspaceError: it is not there, or damaged.
    """
    try:
        return Evaluation.from_json(json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        raise WorkspaceError(f"{file} is not there. Run `clip2yolo evaluate` first.") from None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise WorkspaceError(
            f"{file} cannot be read as an evaluation ({type(error).__name__}). Delete it and run "
            "`clip2yolo evaluate` again."
        ) from error


def _part(kind: type[Part], known: Mapping[str, Any]) -> Part:
    """Make a record from those of `known` that are its fields."""
    wanted = {field.name: known[field.name] for field in fields(kind)}  # type: ignore[arg-type]
    return TypeAdapter(kind).validate_python(wanted)
