"""`export`: the student in other formats, each proved on images that it never learned from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import ExportConfig
from pipeline.errors import ConfigError, StudentError, WorkspaceError
from pipeline.export.folder import PREDICT, name_of
from pipeline.export.formats import FORMATS, missing
from pipeline.export.known import PROOF, read_export
from pipeline.export.labels import FILE as LABELS
from pipeline.export.make import ExportFigures, ExportInputs, Maker, inputs_of
from pipeline.files import fingerprint
from pipeline.records import DATASET, read_table
from pipeline.run.stage import Run, Stage
from pipeline.student.stage import TRAIN
from pipeline.values import counted


@dataclass(frozen=True)
class ExportCounts:
    """What was exported."""

    exports: list[ExportFigures]


def check_exports(exports: Sequence[ExportConfig]) -> None:
    """Refuse exports that this machine cannot make; nothing heavy is imported.

    Raises:
        ConfigError: a line for each, with what is missing.
    """
    wrong = [missing(FORMATS[one.format], one.precision) for one in exports]
    if found := [sentence for sentence in wrong if sentence is not None]:
        raise ConfigError(*found)


def export_all(run: Run, inputs: ExportInputs, wanted: Sequence[ExportConfig]) -> ExportCounts:
    """Make what is wanted and not there yet. One that fails holds no other up.

    Raises:
        StudentError: one or more failed, each with its lines; the others are in place.
    """
    maker, figures, failed = Maker(run, inputs), [], []
    for one in wanted:
        there = maker.current(one)
        if there is None:
            run.listener.say(f"Exporting {name_of(one.format, one.precision)}.")
            try:
                there = maker.make(one)
            except StudentError as error:
                failed += list(error.args)
                continue
        if not there.proved:
            run.listener.warn(f"{there.name} is not proved: {there.sentence}")
        figures.append(there)
    _tell_stale(run, inputs.student)
    if failed:
        raise StudentError(*failed)
    return ExportCounts(figures)


def _tell_stale(run: Run, student: str) -> None:
    """Warn of exports of another student, which somebody might hand on."""
    for folder in sorted(run.workspace.exports.glob("*")):
        known = read_export(folder)
        if known is not None and known.student != student:
            run.listener.warn(f"{folder} is of an earlier student. Export it again, or remove it.")


def look(run: Run) -> ExportInputs:
    """Read what exports are made from.

    Raises:
        WorkspaceError: there is no student yet, or it is damaged.
    """
    plan = read_table(run.workspace.dataset_table, DATASET, "label")
    if TRAIN.stamp(run.workspace) is None or not run.workspace.weights.is_file():
        raise WorkspaceError(
            f"{run.workspace.root} has no trained student yet. Run `clip2yolo train` first."
        )
    try:
        return inputs_of(run, plan)
    except StudentError as error:
        raise WorkspaceError(str(error)) from error


def _digest(run: Run, inputs: ExportInputs) -> str:
    return fingerprint(*(inputs.digest(one) for one in run.config.exports))


def _folders(run: Run) -> list[Path]:
    return [
        run.workspace.exports / name_of(one.format, one.precision) for one in run.config.exports
    ]


def _leaves(run: Run) -> Iterable[Path]:
    names = (LABELS, PREDICT, PROOF)
    return [folder / name for folder in _folders(run) for name in names]


def _intact(run: Run) -> bool:
    """Whether every model is the one that was proved."""
    found = [read_export(folder) for folder in _folders(run)]
    return all(known is not None and known.whole for known in found)


def _summary(counts: ExportCounts) -> str:
    if not counts.exports:
        return "nothing is asked for"
    proved = [one.name for one in counts.exports if one.proved]
    others = len(counts.exports) - len(proved)
    said = f"proved: {', '.join(proved)}" if proved else ""
    left = f"{counted(others, 'export')} not proved" if others else ""
    return "; ".join(part for part in (said, left) if part)


EXPORTS = Stage(
    name="export",
    command="export",
    counts=ExportCounts,
    check=lambda run: check_exports(run.config.exports),
    look=look,
    digest=_digest,
    leaves=_leaves,
    intact=_intact,
    work=lambda run, inputs: export_all(run, inputs, run.config.exports),
    makes=lambda space: (space.exports,),
    summary=_summary,
)
