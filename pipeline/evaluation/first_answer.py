"""A new process that opens a teacher or a student and answers on one picture.

    python -m pipeline.evaluation.first_answer < what `costs` has pickled for it

Both ends are the same program on the same machine, so that the pickle is its own.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.imports import only_answers, process_is_ours
from pipeline.ontology import Ontology
from pipeline.records import Predictor
from pipeline.student.precision import Precision


@dataclass(frozen=True)
class OpenTeachers:
    """What opens the teachers of a config."""

    config: Config
    ontology: Ontology
    classes: Sequence[str]

    def __call__(self) -> Predictor:
        """Return them, as one."""
        from pipeline.teachers.panel import panel_of

        return panel_of(self.config, self.ontology, self.classes)


@dataclass(frozen=True)
class OpenStudent:
    """What opens a student's folder."""

    folder: Path
    device: str
    precision: Precision

    def __call__(self) -> Predictor:
        """Return it."""
        from pipeline.student import Student

        return Student.load(self.folder, self.device, self.precision)


def main() -> None:
    """Open who was asked for, and say what it finds in the picture the likeliest."""
    process_is_ours()
    only_answers()  # as `classify`
    opening, picture, max_pixels = pickle.load(sys.stdin.buffer)  # noqa: S301 - see above
    predictor: Predictor = opening()
    answer = predictor.predict([predictor.read(Path(picture).read_bytes(), max_pixels)])
    sys.stdout.write(f"{int(answer[0].argmax())}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
