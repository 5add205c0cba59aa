"""`evaluate`: teacher, student and chance on images that the student has never seen."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pipeline.config import Config
from pipeline.errors import ConfigError, SourceError, WorkspaceError
from pipeline.evaluation.against import ANSWERS
from pipeline.evaluation.gates import check_gates
from pipeline.evaluation.promote import against_promoted, raise_failed, settle
from pipeline.files import fingerprint, write_json, write_text
from pipeline.listener import Listener
from pipeline.ontology import Ontology, ontology_of
from pipeline.records import DATASET, LABELS, Prediction, read_table, write_table
from pipeline.run.stage import SILENT, StageResult, states_of, up_to_date, with_precision
from pipeline.run.workspace import Workspace
from pipeline.teachers.panel import ask, in_words, load_panel

if TYPE_CHECKING:
    from pipeline.teachers.zero_shot import Panel

_COMPARED = 1000  # images, with one precision and with another


@dataclass
class _Chosen:
    """Images to evaluate on, while they are being chosen; `truth` has a class name for each."""

    pairs: list[tuple[str, Path]]
    truth: list[str] | None
    source: str
    excluded: dict[str, int] = field(default_factory=dict)

    def keep(self, kept: Sequence[bool], reason: str) -> None:
        """Leave out the images that are not kept, and count them under the reason."""
        missing = len(kept) - sum(kept)
        if missing:
            self.excluded[reason] = self.excluded.get(reason, 0) + missing
        self.pairs = [pair for pair, keep in zip(self.pairs, kept, strict=True) if keep]
        if self.truth is not None:
            self.truth = [name for name, keep in zip(self.truth, kept, strict=True) if keep]


def evaluate(config: Config, listener: Listener = SILENT) -> StageResult:
    """Compare the student with its teacher and write evaluation.json and report.html.

    The held-out images are those of `truth` without the ones that the student was trained or
    chosen on; where the config names no truth, the dataset's own test split, on which nothing but
    agreement can be measured.

    Raises:
        WorkspaceError: there is no student yet, or the workspace is busy.
        ConfigError: the truth names a class that the ontology lacks.
        SourceError: no image is left to evaluate on.
        GateError: the student does not reach what the config asks for; all is written and kept.
    """
    ontology = ontology_of(config)
    workspace = Workspace(config.workspace)
    with workspace.locked():
        started = time.monotonic()
        plan = read_table(workspace.dataset_table, DATASET, "label")
        if workspace.stamp("train") is None:
            raise WorkspaceError(
                f"{workspace.root} has no trained student yet. Run `clip2yolo train` first."
            )
        print_ = evaluate_fingerprint(config, ontology)
        whole = workspace.evaluation.is_file() and workspace.report.is_file()
        if workspace.is_current("evaluate", print_) and whole:
            result = up_to_date(workspace, "evaluate")
            raise_failed(result.counts["gates"], workspace.report)
            return result
        chosen = _held_out(config, ontology, plan, workspace, listener)
        evaluation = _evaluate(config, ontology, plan, workspace, chosen, listener)
        _write(config, workspace, evaluation)
        evaluation["outcome"] = settle(config, workspace, evaluation, listener)
        _write(config, workspace, evaluation)
        counts = {
            "summary": _summary(evaluation),
            "held_out": evaluation["held_out"],
            "gates": evaluation["gates"],
            "outcome": evaluation["outcome"],
        }
        seconds = time.monotonic() - started
        workspace.finish("evaluate", print_, counts, seconds)
        raise_failed(evaluation["gates"], workspace.report)
        return StageResult("evaluate", False, counts, seconds)


def _write(config: Config, workspace: Workspace, evaluation: dict[str, Any]) -> None:
    from pipeline.evaluation.markdown import render_markdown
    from pipeline.evaluation.report import render_report

    write_json(workspace.evaluation, evaluation)
    write_text(workspace.report_md, render_markdown(evaluation))
    curve = workspace.student / "curve.png"
    write_text(workspace.report, render_report(evaluation, curve, config.max_pixels))


def evaluate_fingerprint(config: Config, ontology: Ontology) -> str:
    """Name what the evaluation depends on: labels, dataset, student, truth, devices."""
    workspace = Workspace(config.workspace)
    stamps = [workspace.stamp(stage) for stage in ("label", "dataset", "train")]
    return fingerprint(
        [None if stamp is None else [stamp.fingerprint, stamp.finished] for stamp in stamps],
        ontology.dataset_classes,
        _truth_state(config.truth),
        _truth_state(config.pool_truth),
        config.evaluate.model_dump(),
        [[one.device, one.precision] for one in config.teachers] + [config.student.device],
    )


def _truth_state(path: Path | None) -> list[Any]:
    """Names and contents of the files that hold the truth."""
    if path is None:
        return []
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [str(path), [str(file) for file in files], states_of(files)]


def _held_out(
    config: Config,
    ontology: Ontology,
    plan: pl.DataFrame,
    workspace: Workspace,
    listener: Listener,
) -> _Chosen:
    if config.truth is None:
        test = plan.filter(pl.col("split") == "test")
        listener.warn("The config names no `truth`: agreement is measured, accuracy cannot be.")
        pairs = [(one, Path(path)) for one, path in test.select("id", "path").iter_rows()]
        chosen = _Chosen(pairs, None, "the dataset's test split")
    else:
        table = _read_truth(config, config.truth, ontology, listener)
        chosen = _Chosen(
            [(one, Path(path)) for one, path in table.select("id", "path").iter_rows()],
            table["class"].to_list(),
            str(config.truth),
        )
        known = set(ontology.dataset_classes)
        assert chosen.truth is not None
        chosen.keep(
            [name in known for name in chosen.truth],
            "of the background class, which the dataset leaves out",
        )
        learned = set(plan.filter(pl.col("split") != "test")["id"])
        chosen.keep(
            [one not in learned for one, _ in chosen.pairs], "the student was trained or chosen on"
        )
    if not chosen.pairs:
        why = "".join(f" ({count} {reason})" for reason, count in chosen.excluded.items())
        raise SourceError(
            f"No image is left to evaluate on: {chosen.source} holds none{why}. Give `truth:` a "
            "labeled folder of other images, or label more images."
        )
    return chosen


def _read_truth(config: Config, path: Path, ontology: Ontology, listener: Listener) -> pl.DataFrame:
    from pipeline.images.truth import read_truth

    folders = [source.path for source in config.sources if source.path.is_dir()]
    table, problems = read_truth(path, config.max_pixels, folders)
    for sentence in problems[:5]:
        listener.warn(sentence)
    if len(problems) > 5:
        listener.warn(f"{len(problems) - 5} more files of {path} cannot be used.")
    unknown = sorted(set(table["class"]) - set(ontology.classes))
    if unknown:
        raise ConfigError(
            f"{path} has the class {unknown[0]!r}, which the ontology does not have "
            f"({', '.join(ontology.classes)}). Rename it there, or add a prompt for it."
        )
    return table


def _evaluate(
    config: Config,
    ontology: Ontology,
    plan: pl.DataFrame,
    workspace: Workspace,
    chosen: _Chosen,
    listener: Listener,
) -> dict[str, Any]:
    from pipeline.evaluation.compare import Contender, HeldOut, Member, label_figures
    from pipeline.evaluation.compare import evaluate as compare
    from pipeline.evaluation.measure import measure_latency, predict_files
    from pipeline.student import Student

    classes = ontology.dataset_classes
    listener.say(f"Loading {in_words(config)} and the student.")
    teacher = load_panel(config, ontology, classes)
    student = Student.load(workspace.student, config.student.device)
    asked = ask(teacher, _table(chosen.pairs), config, listener)
    readable = set(asked.ids)
    chosen.keep([one in readable for one, _ in chosen.pairs], "unreadable")
    if not chosen.pairs:
        raise SourceError(
            f"No image of {chosen.source} can be read, so there is nothing to compare."
        )
    answers = asked.answers()
    paths = [path for _, path in chosen.pairs]
    with listener.bar("Student", "images") as progress:
        learned = predict_files(student, paths, max_pixels=config.max_pixels, progress=progress)

    rows = np.linspace(0, len(paths) - 1, min(config.evaluate.latency_images, len(paths)))
    encoded = [paths[int(row)].read_bytes() for row in rows]
    listener.say(f"Timing both on {len(encoded)} images.")
    with listener.bar("Timing", "images") as progress:
        latency = measure_latency(
            [teacher, student], encoded, max_pixels=config.max_pixels, progress=progress
        )

    training = plan.filter(pl.col("split") == "train").group_by("class").len()
    evaluation = compare(
        classes,
        HeldOut(
            ids=[one for one, _ in chosen.pairs],
            paths=paths,
            truth=None
            if chosen.truth is None
            else np.array([classes.index(name) for name in chosen.truth]),
            source=chosen.source,
            excluded=chosen.excluded,
        ),
        Contender(teacher, Prediction(classes, answers.together), latency[teacher.name]),
        Contender(student, learned, latency[student.name]),
        dict(training.iter_rows()),
        label_figures(
            read_table(workspace.labels, LABELS, "label"),
            _known_truth(config, ontology, listener),
        ),
        config.evaluate.disagreements,
        [
            Member(member.name, weight, Prediction(classes, answer))
            for member, weight, answer in zip(
                teacher.members, teacher.weights, answers.alone, strict=True
            )
        ],
    )
    evaluation["teacher"]["precision"] = _precision(
        config, ontology, teacher, chosen.pairs, answers.together, listener
    )
    given = pl.DataFrame(
        {
            "id": [one for one, _ in chosen.pairs],
            "truth": chosen.truth or [None] * len(paths),
            "teacher": [classes[index] for index in answers.together.argmax(axis=1)],
            "student": [classes[index] for index in learned.probabilities.argmax(axis=1)],
            "confidence": learned.probabilities.max(axis=1),
        },
        schema_overrides=ANSWERS,
    )
    write_table(workspace.answers, given)
    against = against_promoted(workspace, paths, given, config, listener)
    evaluation["against"] = against
    evaluation["gates"] = check_gates(config.evaluate.gates, evaluation, against)
    evaluation["outcome"] = None
    stamp = workspace.stamp("label")
    evaluation["drift"] = None if stamp is None else stamp.counts.get("drift")
    return evaluation


def _precision(
    config: Config,
    ontology: Ontology,
    teacher: Panel,
    pairs: Sequence[tuple[str, Path]],
    answers: np.ndarray,
    listener: Listener,
) -> dict[str, Any]:
    """What the teachers computed with, and on how many images that changes no answer."""
    from pipeline.evaluation.metrics import agreement

    used = " + ".join(dict.fromkeys(member.teacher.precision for member in teacher.members))
    if used == "fp32":
        return {"used": used, "agrees_with_fp32": None}
    full = with_precision(config, "fp32")
    listener.say(f"Comparing {used} with fp32.")
    exact_panel = load_panel(full, ontology, ontology.dataset_classes)
    asked = ask(exact_panel, _table(pairs[:_COMPARED]), full, listener)
    exact = asked.answers().together.argmax(axis=1)
    same = agreement(answers[: len(exact)].argmax(axis=1), exact)
    return {"used": used, "agrees_with_fp32": None if same is None else asdict(same)}


def _table(pairs: Sequence[tuple[str, Path]]) -> pl.DataFrame:
    rows = [(one, str(path)) for one, path in pairs]
    return pl.DataFrame(rows, {"id": pl.String, "path": pl.String}, orient="row")


def _known_truth(config: Config, ontology: Ontology, listener: Listener) -> dict[str, str]:
    """Return id → class for every image that a person has labeled, to judge the labels by."""
    known: dict[str, str] = {}
    for path in (config.truth, config.pool_truth):
        if path is not None:
            table = _read_truth(config, path, ontology, listener)
            known.update(dict(table.select("id", "class").iter_rows()))
    return known


def _summary(evaluation: Mapping[str, Any]) -> str:
    from pipeline.evaluation.wording import percent

    student, teacher = evaluation["student"], evaluation["teacher"]
    speed = f"{evaluation['comparison']['speedup']['end_to_end']:.1f} times as fast"
    if student["accuracy"] is None:
        return f"student agrees on {percent(student['agreement']['value'])}, {speed}"
    return (
        f"student {percent(student['accuracy']['value'])}, "
        f"teacher {percent(teacher['accuracy']['value'])}, {speed}"
    )
