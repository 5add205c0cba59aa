"""Training in a folder, which goes on after the last whole epoch that was left there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import Clip2YoloError, StudentError
from pipeline.student.epochs import EpochReport, read_curve, refuse_exploded, write_curve
from pipeline.student.settings import ultralytics_settings
from pipeline.student.task import Task
from pipeline.yolo.apart import undisturbed


def fit_in(folder: Path, task: Task, on_epoch: Callable[[EpochReport], None]) -> list[EpochReport]:
    """Train in a folder what was not trained there yet, and return all epochs; weights.pt and
    curve.csv are left there.

    Raises:
        StudentError, SourceError: as `train`.
    """
    from pipeline.yolo.library import find_model

    find_model(task.config.model)  # refused, or fetched, before a process is started
    state, reports = _resume(folder)
    if state is None or state["epoch"] + 1 < task.config.epochs:
        if len(task.devices) == 1:
            fit_here(folder, task, on_epoch)
        else:
            from pipeline.student.processes import fit_together

            fit_together(folder, task, on_epoch)
        reports = read_curve(folder / "curve.csv")
    refuse_exploded(reports[-1], [index for _, index in task.lessons.samples["valid"]])
    return reports


def fit_here(folder: Path, task: Task, on_epoch: Callable[[EpochReport], None]) -> None:
    """Do in this process what `fit_in` does. Of several this is the one that its environment says;
    only the first one writes, and calls `on_epoch`."""
    from pipeline.machine import model_threads
    from pipeline.student.states import describe_failure
    from pipeline.student.together import TrainerOfSeveral
    from pipeline.student.trainer import Trainer
    from pipeline.yolo.library import find_model

    config = task.config
    state, reports = _resume(folder)

    def after_epoch(report: EpochReport) -> None:
        reports.append(report)
        write_curve(folder / "curve.csv", reports)
        on_epoch(report)

    place = {"project": str(folder.parent.absolute()), "name": folder.name}
    try:
        with undisturbed(), model_threads():
            (Trainer if len(task.devices) == 1 else TrainerOfSeveral)(
                ultralytics_settings(config, task.devices) | place,
                task.lessons,
                task.classes,
                find_model(config.model),
                state,
                task.max_pixels,
                config.fit,
                after_epoch,
            ).train()
    except Clip2YoloError:
        raise
    except (MemoryError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise StudentError(describe_failure(error, config.batch)) from error


def _resume(folder: Path) -> tuple[dict[str, Any] | None, list[EpochReport]]:
    """Return the state of a half-finished training and its epochs; None and none where there is no
    whole one."""
    from pipeline.student.states import load_state

    state = load_state(folder / "state.pt")
    reports = [] if state is None else read_curve(folder / "curve.csv")[: state["epoch"] + 1]
    if state is None or len(reports) <= state["epoch"]:
        return None, []
    return state, reports
