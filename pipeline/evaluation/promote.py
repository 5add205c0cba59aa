"""What becomes of an evaluated student: held against the one in use, kept, put into use where it is
no worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from pipeline.evaluation.against import Against, against
from pipeline.evaluation.measure import predict_files
from pipeline.evaluation.record import Evaluation, Outcome
from pipeline.export.proved import record_exports
from pipeline.run.stage import Run
from pipeline.storage.address import Place
from pipeline.student import Student
from pipeline.student.kept import Students


def against_promoted(run: Run, paths: Sequence[Place], answers: pl.DataFrame) -> Against | None:
    """Ask the student in use about the same images and compare; None where there is none, or where
    it knows a class that the ontology lacks. Answers are compared by name, in whatever order, and
    either of the two may lack a class that had no images in its time.

    Args:
        run: whose student is in use.
        paths: of the images.
        answers: of the student that was evaluated, with the schema `against.ANSWERS`.
    """
    promoted = Students(run.workspace.students).promoted
    if promoted is None:
        return None
    settings = run.config.student
    old = Student.load(promoted, settings.device, settings.precision)
    if not set(old.classes) <= set(run.ontology.dataset_classes):
        run.listener.warn(
            f"The promoted student {promoted.name} knows other classes ({', '.join(old.classes)}), "
            "so the new one cannot be compared with it."
        )
        return None
    said = predict_files(old, paths, max_pixels=run.config.max_pixels).probabilities
    names = [old.classes[index] for index in said.argmax(axis=1)]
    earlier = answers.with_columns(
        student=pl.Series(names, dtype=pl.String),
        confidence=pl.Series(said.max(axis=1), dtype=pl.Float32),
    )
    return replace(against(answers, earlier), promoted=promoted.name)


def decide(evaluation: Evaluation, students: Students, name: str, margin: float) -> Outcome:
    """Say what becomes of a student: it is put into use unless it fails a gate, is worse than the
    one in use by more than the margin, or was taken out of use by a person. Changes nothing.

    Args:
        evaluation: with its gates and the comparison with the student in use.
        students: those that are kept.
        name: the student's, from `Students.name_of`.
        margin: a share.
    """
    failed = " and ".join(gate.gate for gate in evaluation.gates if not gate.passed)
    before, compared = students.promoted, evaluation.against
    if failed and before is not None and before.name == name:
        return Outcome(
            name,
            True,
            f"The student in use, {name}, now fails {failed}. It stays in use until another one "
            "passes, or `clip2yolo promote --rollback` goes back.",
        )
    if failed:
        return Outcome(name, False, f"The student is not promoted: it fails {failed}.")
    if compared is not None and -compared.difference.value > margin:
        return Outcome(
            name,
            False,
            f"The student is not promoted: {compared.promoted} stays in use. "
            f"{compared.sentence} The margin is {margin:.1%}.",
        )
    if students.is_withdrawn(name):
        return Outcome(
            name,
            False,
            f"The student is not promoted: a person went back from {name}. "
            f"`clip2yolo promote {name}` puts it into use again.",
        )
    return Outcome(name, True, f"The student is in use now, as {name}.")


def settle(run: Run, evaluation: Evaluation) -> None:
    """Do what the outcome says: keep the student with its evaluation and the formats that were
    proved, put it into use, and let the oldest go.

    What is named in `promoted` is kept before it is named, so a kill in between loses nothing.
    """
    outcome = evaluation.outcome
    assert outcome is not None  # `decide` comes first
    workspace, students = run.workspace, Students(run.workspace.students)
    beside = (workspace.evaluation, workspace.answers, workspace.report_md)
    students.keep(workspace.student, *beside, name=outcome.student)
    record_exports(workspace.exports, workspace.students / outcome.student)
    passed = all(gate.passed for gate in evaluation.gates)
    if outcome.promoted and passed:
        students.promote(outcome.student)
    students.forget(run.config.student.keep)
    (run.listener.say if outcome.promoted and passed else run.listener.warn)(outcome.reason)
