"""`evaluate`: teacher, student and chance on images that the student has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import StudentConfig
from pipeline.dataset.stage import EXPORT
from pipeline.errors import SourceError, WorkspaceError
from pipeline.evaluation.against import ANSWERS
from pipeline.evaluation.analysis import look_closer
from pipeline.evaluation.assess import Alone, assess
from pipeline.evaluation.audit.truth import audited_truth
from pipeline.evaluation.contenders import compete, line_up
from pipeline.evaluation.gates import check_gates
from pipeline.evaluation.label_figures import label_figures
from pipeline.evaluation.label_record import LabelFigures, SuspectFigures
from pipeline.evaluation.look_alikes import settle_look_alikes
from pipeline.evaluation.markdown import render_markdown
from pipeline.evaluation.measure import predict_files
from pipeline.evaluation.metrics import agreement
from pipeline.evaluation.promote import against_promoted, decide, settle
from pipeline.evaluation.record import (
    FORMAT,
    Evaluation,
    GateResult,
    HeldOutFigures,
    Outcome,
    Precision,
)
from pipeline.evaluation.rejection import ask_student, rejection
from pipeline.evaluation.report import how_made, render_report
from pipeline.evaluation.sample import (
    Sample,
    check_truth,
    choose_sample,
    known_truth,
)
from pipeline.evaluation.suspects import find_suspects, suspect_figures
from pipeline.evaluation.wording import summary
from pipeline.export.open import exports_digest
from pipeline.export.stage import EXPORTS
from pipeline.files import fingerprint, names_and_hashes, write_json, write_text
from pipeline.labels.stage import LABEL
from pipeline.labels.suspected import put_up_for_review
from pipeline.records import DATASET, LABELS, Prediction, read_table, write_table
from pipeline.run.place import without_place
from pipeline.run.stage import Run, Stage
from pipeline.student import Student
from pipeline.student.epochs import read_curve
from pipeline.student.kept import Students
from pipeline.student.precision import ALIKE, only_slower
from pipeline.student.stage import TRAIN
from pipeline.teachers.panel import Answers, Panel, ask, in_words, panel_of

_COMPARED = 1000  # images, with one precision and with another


@dataclass(frozen=True)
class EvaluateCounts:
    """What came out of evaluating."""

    summary: str
    held_out: HeldOutFigures
    gates: list[GateResult]
    outcome: Outcome


def _look(run: Run) -> pl.DataFrame:
    plan = read_table(run.workspace.dataset_table, DATASET, "label")
    if TRAIN.stamp(run.workspace) is None:
        raise WorkspaceError(
            f"{run.workspace.root} has no trained student yet. Run `clip2yolo train` first."
        )
    return plan


def _digest(run: Run, plan: pl.DataFrame) -> str:
    """Name what the evaluation depends on: labels, dataset, student, truth, devices."""
    config, audited = run.config, audited_truth(run)
    stamps = [stage.stamp(run.workspace) for stage in (LABEL, EXPORT, TRAIN)]
    return fingerprint(
        FORMAT,
        [None if stamp is None else [stamp.digest, stamp.finished] for stamp in stamps],
        run.ontology.dataset_classes,
        _truth_state(run, config.truth),
        _truth_state(run, config.pool_truth),
        config.evaluate.model_dump(),
        [[teacher.device, teacher.precision] for teacher in config.teachers]
        + [_asked_in(config.student)],
        exports_digest(run.workspace),
        # Only where there was one: otherwise earlier evaluations would count as out of date.
        *([audited.sort("id").select("id", "class").rows()] if len(audited) else []),
    )


def _asked_in(student: StudentConfig) -> str:
    """What a student's answers depend on beside its weights. What "auto" comes to on a machine is
    not part of it, as of a teacher's: a run that goes on elsewhere is not evaluated anew."""
    said = student.precision != "auto"
    return f"{student.device} in {student.precision}" if said else student.device


def _truth_state(run: Run, path: Path | None) -> list[Any]:
    """Names and contents of the files that hold the truth."""
    if path is None:
        return []
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    names = without_place(run, pl.Series([str(path), *map(str, files)])).to_list()
    return [names, names_and_hashes(files)]


def _work(run: Run, plan: pl.DataFrame) -> EvaluateCounts:
    evaluation = _evaluate(run, plan, choose_sample(run, plan))
    students = Students(run.workspace.students)
    name = students.name_of(run.workspace.student)
    outcome = decide(evaluation, students, name, run.config.evaluate.margin)
    evaluation = replace(evaluation, outcome=outcome)
    _write(run, evaluation)
    settle(run, evaluation)
    return EvaluateCounts(summary(evaluation), evaluation.held_out, list(evaluation.gates), outcome)


def _evaluate(run: Run, plan: pl.DataFrame, sample: Sample) -> Evaluation:
    """Ask everybody, time them, and compare: all but what becomes of the student."""
    config, classes = run.config, run.ontology.dataset_classes
    run.listener.say(f"Loading {in_words(config.teachers)} and the student.")
    panel = panel_of(config, run.ontology, classes, run.listener)
    student = Student.load(run.workspace.student, config.student.device, config.student.precision)
    if not set(student.classes) <= set(classes):
        raise WorkspaceError(
            f"The student in {run.workspace.student} knows other classes "
            f"({', '.join(student.classes)}) than the ontology ({', '.join(classes)}). "
            "Run `clip2yolo run`."
        )
    asked = ask(panel, sample.table(), config.max_pixels, run.listener)
    readable = set(asked.ids)
    sample.keep([image_id in readable for image_id in sample.ids], "unreadable")
    if not sample.ids:
        raise SourceError(
            f"No image of {sample.source} can be read, so there is nothing to compare."
        )
    alike = settle_look_alikes(run, plan, sample, panel.examples)
    asked = asked.only(sample.ids)
    taught = asked.answers()
    with run.listener.bar("Student", "images") as progress:
        scored = ask_student(student, sample.paths, config.max_pixels, progress)
    learned = scored.prediction.in_order(classes)
    entrants, left_out = line_up(run, panel, student, sample, taught, learned)
    precisions = [
        _precision(run, panel, sample, taught),
        _precision_of_student(run, student, sample, learned),
    ]
    contenders = compete(run, entrants, sample, precisions)
    truth = known_truth(run)
    training = plan.filter(pl.col("split") == "train").group_by("class").len()
    evaluation = assess(
        classes,
        sample.held_out(classes),
        contenders,
        dict(training.iter_rows()),
        _label_figures(run, truth),
        config.evaluate.disagreements,
        [
            Alone(member.name, weight, Prediction(classes, answer))
            for member, weight, answer in zip(
                panel.members, panel.weights, taught.alone, strict=True
            )
        ],
    )
    answers = _answer_table(sample, classes, taught, learned)
    write_table(run.workspace.answers, answers)
    label_stamp = LABEL.stamp(run.workspace)
    evaluation = replace(
        evaluation,
        left_out=left_out,
        rejection=rejection(student, scored, _right(answers), sample.others, config.max_pixels),
        suspects=_suspects(run, plan, truth),
        against=against_promoted(run, sample.paths, answers),
        drift=None if label_stamp is None else label_stamp.counts.drift,
    )
    evaluation = look_closer(run, evaluation, student, sample, answers, alike)
    return replace(evaluation, gates=check_gates(config.evaluate.limits, evaluation))


def _suspects(run: Run, plan: pl.DataFrame, truth: Mapping[str, str]) -> SuspectFigures | None:
    """Find which of the learned labels are likely wrong, and put them before people; None where
    nobody asked for it."""
    shown = run.config.evaluate.suspects
    if not shown:
        run.workspace.suspects.unlink(missing_ok=True)  # of another student
        return None
    found = find_suspects(run, plan)
    put_up_for_review(run)
    return suspect_figures(found, truth, shown)


def _label_figures(run: Run, truth: Mapping[str, str]) -> LabelFigures:
    """How right the labels are: all columns but the probabilities, which fill the memory."""
    columns = [name for name in LABELS if name != "probabilities"]
    labels = read_table(run.workspace.labels, LABELS, "label", columns)
    stamp = LABEL.stamp(run.workspace)
    counts = None if stamp is None else stamp.counts
    return label_figures(labels, truth, counts, run.config.evaluate.disagreements)


def _answer_table(
    sample: Sample, classes: tuple[str, ...], taught: Answers, learned: Prediction
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": sample.ids,
            "truth": sample.truth or [None] * len(sample.ids),
            "teacher": [classes[index] for index in taught.together.argmax(axis=1)],
            "student": [classes[index] for index in learned.probabilities.argmax(axis=1)],
            "confidence": learned.probabilities.max(axis=1),
        },
        schema_overrides=ANSWERS,
    )


def _right(answers: pl.DataFrame) -> np.ndarray | None:
    """Whether the student is right on each held-out image; None without truth."""
    if answers["truth"].null_count():
        return None
    return (answers["truth"] == answers["student"]).to_numpy()


def _precision(run: Run, panel: Panel, sample: Sample, taught: Answers) -> Precision:
    """What the teachers computed with, and on how many images that changes no answer."""
    used = " + ".join(dict.fromkeys(member.teacher.precision for member in panel.members))
    if used == "fp32":
        return Precision(used, None)
    run.listener.say(f"Comparing {used} with fp32.")
    exact = panel_of(run.config.with_precision("fp32"), run.ontology, run.ontology.dataset_classes)
    asked = ask(exact, sample.table(_COMPARED), run.config.max_pixels, run.listener)
    guesses = asked.answers().together.argmax(axis=1)
    return Precision(used, agreement(taught.together[: len(guesses)].argmax(axis=1), guesses))


def _precision_of_student(
    run: Run, student: Student, sample: Sample, learned: Prediction
) -> Precision:
    """What the student computed with, and on how many images that changes no answer."""
    used = student.precision
    if used == "fp32":
        return Precision(used, None)
    if (slower := only_slower(used, student.device)) is not None:
        run.listener.warn(slower)
    run.listener.say(f"Comparing the student in {used} with fp32.")
    exact = Student.load(run.workspace.student, run.config.student.device)
    said = predict_files(exact, sample.paths[:_COMPARED], max_pixels=run.config.max_pixels)
    guesses = said.in_order(learned.classes).probabilities.argmax(axis=1)
    alike = agreement(learned.probabilities[: len(guesses)].argmax(axis=1), guesses)
    if alike is not None and alike.value < ALIKE:
        run.listener.warn(
            f"In {used} the student answers as in fp32 on only {alike.value:.1%} of {alike.n:,} "
            "held-out images. Set `student: {precision: fp32}` where that matters."
        )
    return Precision(used, alike)


def _write(run: Run, evaluation: Evaluation) -> None:
    workspace = run.workspace
    write_json(workspace.evaluation, evaluation.as_json())
    write_text(workspace.report_md, render_markdown(evaluation))
    page = render_report(
        evaluation,
        read_curve(workspace.curve),
        run.config.max_pixels,
        workspace.notices,
        how_made(run, (LABEL, EXPORT, TRAIN, EXPORTS)),
    )
    write_text(workspace.report, page)


EVALUATE = Stage(
    name="evaluate",
    command="evaluate",
    counts=EvaluateCounts,
    check=check_truth,
    look=_look,
    digest=_digest,
    leaves=lambda run: (
        run.workspace.evaluation,
        run.workspace.answers,
        run.workspace.report,
        run.workspace.report_md,
        *((run.workspace.suspects,) if run.config.evaluate.suspects else ()),
    ),
    work=_work,
    makes=lambda space: (
        *(space.answers, space.evaluation, space.report, space.report_md, space.students),
        space.suspects,
    ),
    summary=lambda counts: counts.summary,
)
