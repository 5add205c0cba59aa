"""`train`: the student learns the exported dataset."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import polars as pl

from pipeline.config import Config, StudentConfig
from pipeline.files import fingerprint
from pipeline.listener import Listener
from pipeline.ontology import Ontology, ontology_of
from pipeline.records import DATASET, read_table
from pipeline.run.stage import SILENT, StageResult, states_of, up_to_date
from pipeline.run.workspace import Workspace
from pipeline.student.kept import Students


def train(config: Config, listener: Listener = SILENT) -> StageResult:
    """Train the student on the exported dataset.

    Raises:
        WorkspaceError: there is no dataset yet, or the workspace is busy.
        StudentError: the dataset or the settings cannot be trained with.
    """
    ontology = ontology_of(config)
    workspace = Workspace(config.workspace)
    with workspace.locked():
        started = time.monotonic()
        plan = read_table(workspace.dataset_table, DATASET, "label")
        print_ = train_fingerprint(config, ontology, plan)
        if workspace.is_current("train", print_) and (workspace.student / "weights.pt").is_file():
            return up_to_date(workspace, "train")

        from pipeline import student

        settings = _from_promoted(config, ontology, workspace, listener)
        with listener.bar("Training", "epochs") as progress:

            def on_epoch(report: student.EpochReport) -> None:
                progress(report.epoch, report.epochs)
                listener.epoch(report)

            result = student.train(
                workspace.dataset,
                workspace.student,
                settings,
                ontology.dataset_classes,
                max_pixels=config.max_pixels,
                on_epoch=on_epoch,
            )
        counts = {**asdict(result), "classes": list(ontology.dataset_classes)}
        seconds = time.monotonic() - started
        workspace.finish("train", print_, counts, seconds)
        return StageResult("train", False, counts, seconds)


def _from_promoted(
    config: Config, ontology: Ontology, workspace: Workspace, listener: Listener
) -> StudentConfig:
    """The settings, with the student in use as the model to start from where that was asked for."""
    if config.student.start == "scratch":
        return config.student
    promoted = Students(workspace.students).promoted
    if promoted is None:
        listener.say(f"No student is promoted yet, so this one starts from {config.student.model}.")
        return config.student
    about = json.loads((promoted / "student.json").read_text("utf-8"))
    if about["classes"] != list(ontology.dataset_classes):
        listener.warn(
            f"The promoted student {promoted.name} knows other classes "
            f"({', '.join(about['classes'])}), so this one starts from {config.student.model}."
        )
        return config.student
    listener.say(f"Starting from the promoted student {promoted.name}.")
    return config.student.model_copy(update={"model": str(promoted.absolute() / "weights.pt")})


def train_fingerprint(config: Config, ontology: Ontology, plan: pl.DataFrame) -> str:
    """Name what the student depends on: the pictures and their classes and splits, the settings."""
    from pipeline.student import DEFAULTS

    return fingerprint(
        DEFAULTS,
        plan.select("file", "id").sort("file").rows(),
        ontology.dataset_classes,
        config.student.model_dump(exclude={"device", "workers", "keep"}),
        states_of([Path(config.student.model)]),
    )
