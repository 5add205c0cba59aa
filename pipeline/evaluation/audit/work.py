"""`audit`: draw a sample, take in what people said of it, and say how right everything is."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.config import Config
from pipeline.errors import Clip2YoloError, SourceError
from pipeline.evaluation.audit.frame import FRAME, grown
from pipeline.evaluation.audit.judge import FEW, AuditFigures, figures
from pipeline.evaluation.audit.sheet import NONE, filled_in, write_sheet
from pipeline.evaluation.audit.truth import learned_by_student
from pipeline.evaluation.look_alikes import resemblance
from pipeline.evaluation.measure import predict_files
from pipeline.images.examples import read_examples
from pipeline.labels.answers import Answer, AnswerLog, now, read_answers
from pipeline.listener import SILENT, Listener
from pipeline.records import DATASET, LABELS, read_table, write_table
from pipeline.run.stage import Run
from pipeline.student import Student
from pipeline.values import counted

_COLUMNS = ["id", "path", "class", "guess", "plain", "doubt", "decision"]


def audit(config: Config, answers: int | None = None, listener: Listener = SILENT) -> AuditFigures:
    """Draw images to be asked about, take in the answers of `audit.csv`, and judge by all of them.

    What was answered is truth from then on: it is kept in `answers.jsonl`, survives other labels,
    and trains nothing.

    Args:
        config: the run, which has been labeled.
        answers: how many images are to be drawn in all; None: a hundred at first, then no more.
        listener: told how it goes.

    Raises:
        WorkspaceError: there are no labels, `audit.csv` is not the run's own, or its folder is in
            use.
        ConfigError: `audit.csv` is no table of answers, or names a class that the ontology lacks.
        SourceError: there is no label to audit.
    """
    run = Run.of(config, listener)
    space = run.workspace
    everything = read_table(space.labels, LABELS, "label", _COLUMNS)
    labels = everything.filter(pl.col("decision") != "human")
    if labels.is_empty():
        raise SourceError(
            f"People have decided all of the {counted(len(everything), 'image')} of {space.root} "
            "themselves, so there is no label to audit."
        )
    with space.locked():
        space.take(space.audit)
        space.take(space.audit_frame)
        first = not space.audit_frame.is_file()
        frame = (
            pl.DataFrame(schema=FRAME) if first else read_table(space.audit_frame, FRAME, "audit")
        )
        log = read_answers(space.said)
        notes = [*log.notes(), *_take_in(run, frame, labels, log)]
        wanted = answers if answers is not None else (100 if first else 0)
        fresh: list[str] = []
        if wanted:
            frame, fresh = grown(frame, _with_groups(run, labels), wanted, config.dataset.seed)
            write_table(space.audit_frame, frame)
        drawn = _drawn(frame, labels)
        write_sheet(space.audit, drawn.select("id", "path"), log.audited, fresh)
    if answers is not None and len(drawn) < answers:
        notes.append(
            f"There are no more than {counted(len(drawn), 'image')} to ask about; look-alikes "
            "count once, and what people decided is not asked again."
        )
    if answers is not None and len(drawn) > answers:
        notes.append(
            f"{counted(len(drawn), 'image')} have been drawn before, and an audit only grows."
        )
    truth = {one: answer.class_name for one, answer in log.audited.items()}
    asked = drawn.filter(pl.col("id").is_in(list(truth)))
    student, said = _student(run, asked)
    return figures(frame, labels, truth, student, (*notes, *said))


def _drawn(frame: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    return frame.filter("drawn").join(labels, "id", "inner", maintain_order="left")


def _take_in(run: Run, frame: pl.DataFrame, labels: pl.DataFrame, log: AnswerLog) -> list[str]:
    """Keep what was filled in since the last time; returns what is to be said of it."""
    sheet = run.workspace.audit
    said, strange, passed = filled_in(sheet, run.ontology, _drawn(frame, labels))
    fresh = [
        _answer(one, name, run)
        for one, name in said.items()
        if (known := log.audited.get(one)) is None or (known.class_name or NONE) != name
    ]
    if fresh:
        log.add(fresh)
    notes = []
    if strange:
        rows = "1 filled-in row does" if strange == 1 else f"{strange:,} filled-in rows do"
        notes.append(
            f"{sheet}: {rows} not count, since the image was not drawn or is gone: only what "
            "chance has chosen stands for the others."
        )
    if passed:
        rows = (
            "1 row above the last answer is"
            if passed == 1
            else (f"{passed:,} rows above the last answer are")
        )
        notes.append(
            f"{sheet}: {rows} empty. If they were too hard to say, what is said here of accuracy "
            "is too good."
        )
    return notes


def _answer(image_id: str, name: str, run: Run) -> Answer:
    named = name in run.ontology.classes  # also where a class has the words of `NONE`
    return Answer(
        image_id, "class" if named else "none", name if named else None, "audit", at=now()
    )


def _with_groups(run: Run, labels: pl.DataFrame) -> pl.DataFrame:
    """Labels with the look-alikes that the splits know; without a dataset, none is known."""
    space = run.workspace
    if not space.dataset_table.is_file():
        return labels.with_columns(group=pl.lit(None, pl.String))
    plan = read_table(space.dataset_table, DATASET, "label", ["id", "group"]).unique("id")
    return labels.join(plan, "id", "left", maintain_order="left")


def _student(run: Run, asked: pl.DataFrame) -> tuple[dict[str, str] | None, list[str]]:
    """What the student says of answered images that are new to it, and what is to be said of that;
    None where it is not judged."""
    if asked.is_empty() or not run.workspace.weights.is_file():
        return None, []
    learned = learned_by_student(run)
    if learned is None:
        return None, [
            "The student is not judged: it was trained on other labels than these. Run `clip2yolo "
            "run`, which trains it without what was audited, and then this again."
        ]
    if known := int(asked["id"].is_in(list(learned)).sum()):
        return None, [
            f"The student is not judged: it has learned from {counted(known, 'image')} of the "
            "audit. Run `clip2yolo run`, which trains it without them, and then this again."
        ]
    try:
        plan = read_table(run.workspace.dataset_table, DATASET, "label", ["id", "path", "split"])
        alike = resemblance(run, plan, asked, read_examples(run.config).table).alike
        fresh = asked.filter(~pl.Series(alike))
        if len(fresh) < FEW <= len(asked):
            return None, [
                f"The student is not judged: of the {counted(len(asked), 'audited image')} all but "
                f"{len(fresh)} look like what it has learned from. A larger audit has others."
            ]
        settings = run.config.student
        student = Student.load(run.workspace.student, settings.device, settings.precision)
        with run.listener.bar("Student", "images") as progress:
            answers = predict_files(
                student,
                fresh["path"].to_list(),
                max_pixels=run.config.max_pixels,
                progress=progress,
            )
    except Clip2YoloError as error:
        return None, [f"The student is not judged. {error}"]
    best = np.asarray(answers.probabilities).argmax(axis=1).tolist()
    names = [student.classes[index] for index in best]
    notes = []
    if count := int(alike.sum()):
        images = "1 audited image looks" if count == 1 else f"{count:,} audited images look"
        notes.append(
            f"{images} like what the student has learned from, so the student is judged by the "
            f"{counted(len(fresh), 'other')}."
        )
    return dict(zip(fresh["id"], names, strict=True)), notes
