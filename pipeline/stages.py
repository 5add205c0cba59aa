"""The stages of a run in their order, and the Python interface to them.

Each function takes a loaded config, does what is not yet done, leaves its artifacts in the
workspace and returns what came out. The command line adds only words to them; a notebook calls
them like this:

    config = load_config(Path("configs/packing_line.yaml"))
    label(config), train(config), evaluate(config)

To add a stage is to write its `stage.py` and to name it in `STAGES`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pipeline.config import Config, ExportConfig
from pipeline.dataset.stage import EXPORT, DatasetCounts
from pipeline.evaluation.gates import raise_failed
from pipeline.evaluation.stage import EVALUATE, EvaluateCounts
from pipeline.export.stage import EXPORTS, ExportCounts, export_all
from pipeline.labels.counts import LabelCounts
from pipeline.labels.prompts import review_prompts
from pipeline.labels.stage import LABEL
from pipeline.listener import SILENT, Listener
from pipeline.run.place import settle_in
from pipeline.run.stage import Run, Stage, StageState, Stamp, carry_out, stage_states
from pipeline.student import TrainResult
from pipeline.student.stage import TRAIN

__all__ = ["STAGES", "evaluate", "export", "label", "review_prompts", "status", "train"]

STAGES: tuple[Stage[Any, Any], ...] = (LABEL, EXPORT, TRAIN, EXPORTS, EVALUATE)


def stages_of(config: Config) -> tuple[Stage[Any, Any], ...]:
    """Return the stages that a config has: without `export:` nothing is exported."""
    return tuple(stage for stage in STAGES if stage is not EXPORTS or config.exports)


def _checked(config: Config, listener: Listener, verify: bool = False) -> Run:
    """The run of a config in which no stage will find a mistake: hours may lie between them."""
    run = Run.of(config, listener, verify)
    for stage in stages_of(config):
        stage.check(run)
    return run


@contextlib.contextmanager
def _at_work(run: Run) -> Iterator[None]:
    with run.workspace.locked():
        settle_in(run)
        yield


def label(
    config: Config, listener: Listener = SILENT, verify: bool = False
) -> tuple[Stamp[LabelCounts], Stamp[DatasetCounts]]:
    """Find the images, label them with the teacher and export the dataset.

    Args:
        config: the run.
        listener: told how it goes.
        verify: hash every file again, also where size and time say that it is unchanged.

    Returns:
        What the stages `label` and `dataset` left.

    Raises:
        ConfigError: a setting of any stage that cannot be used; nothing has been read by then.
        Clip2YoloError: bad input, a teacher that cannot be loaded, a busy workspace.
    """
    run = _checked(config, listener, verify)
    with _at_work(run):
        return carry_out(LABEL, run), carry_out(EXPORT, run)


def train(config: Config, listener: Listener = SILENT) -> Stamp[TrainResult]:
    """Train the student on the exported dataset.

    Raises:
        WorkspaceError: there is no dataset yet, or the workspace is busy.
        StudentError: the dataset or the settings cannot be trained with.
    """
    run = _checked(config, listener)
    with _at_work(run):
        return carry_out(TRAIN, run)


def export(
    config: Config, listener: Listener = SILENT, wanted: list[ExportConfig] | None = None
) -> ExportCounts:
    """Write the student in other formats, and prove each on images that it never learned from.

    Args:
        config: the run.
        listener: told how it goes.
        wanted: what to export; by default what the config's `export:` says.

    Raises:
        ConfigError: a format cannot be made on this machine.
        WorkspaceError: there is no student yet, or the workspace is busy.
        StudentError: an export does not answer as the student does; the others are in place.
    """
    run = _checked(config if wanted is None else config.with_exports(wanted), listener)
    with _at_work(run):
        if wanted is None:
            return carry_out(EXPORTS, run).counts
        run.workspace.claim(run.workspace.exports)
        return export_all(run, EXPORTS.look(run), wanted)


def evaluate(config: Config, listener: Listener = SILENT) -> Stamp[EvaluateCounts]:
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
    run = _checked(config, listener)
    with _at_work(run):
        stamp = carry_out(EVALUATE, run)
    raise_failed(stamp.counts.gates, run.workspace.report)
    return stamp


def status(config: Config) -> list[StageState]:
    """Say of each stage whether it is done, out of date or not run. Changes nothing."""
    return stage_states(stages_of(config), Run.of(config))
