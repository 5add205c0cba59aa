"""`upload`: a run's labeled images to its Roboflow project."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.config import Config
from pipeline.errors import WorkspaceError
from pipeline.labels.stage import LABEL
from pipeline.listener import SILENT, Listener
from pipeline.records import DATASET, LABELS, read_table
from pipeline.roboflow.client import RoboflowProject
from pipeline.roboflow.ledger import Ledger
from pipeline.roboflow.names import open_project, possible_names
from pipeline.roboflow.plan import PLANNED_BY, Item, plan_upload
from pipeline.roboflow.send import is_done, raise_unless_there, upload
from pipeline.run.workspace import Workspace


def planned(config: Config, only: str) -> list[Item]:
    """Return what `upload_dataset` would send, whether it is there already or not.

    Raises:
        WorkspaceError: there are no labels yet.
    """
    workspace = Workspace(config.workspace)
    labels = read_table(workspace.labels, LABELS, "label", PLANNED_BY)
    dataset = read_table(workspace.dataset_table, DATASET, "label")
    stamp = LABEL.stamp(workspace)
    if stamp is None:
        raise WorkspaceError(f"{workspace.root} has no labels yet. Run `clip2yolo label` first.")
    return plan_upload(labels, dataset, only, workspace.root.name, stamp.counts.teacher)


def known_to_be_there(config: Config, items: Sequence[Item]) -> int:
    """Count the items that the project's ledger knows to be there; asks nobody."""
    folder, place = Workspace(config.workspace).uploads, config.roboflow.workspace
    ledgers = [
        Ledger(path)
        for name in possible_names(config)
        for path in folder.glob(f"{glob.escape(place or '') or '*'}--{glob.escape(name)}.jsonl")
    ]
    return sum(any(is_done(item, ledger) for ledger in ledgers) for item in items)


def upload_dataset(
    config: Config,
    only: str = "accepted",
    create: Callable[[], bool] = lambda: False,
    listener: Listener = SILENT,
    relabel: bool = False,
) -> dict[str, Any]:
    """Send the labeled images to the config's project; what is there already is not sent again.

    Args:
        config: its `roboflow` section names the project.
        only: "accepted", "abstained" (without a label, to be annotated there) or "all".
        create: asked whether to create the project where it is missing.
        listener: told how it goes.
        relabel: whether labels that were sent earlier and are others now are replaced.

    Returns:
        See `pipeline.roboflow.upload.upload`.

    Raises:
        UploadError: not every image is there in the end.
        ConfigError: no project or no key.
    """
    workspace = Workspace(config.workspace)
    with workspace.locked():
        items = planned(config, only)
        project = open_project(config, create, listener)
        ledger = ledger_of(workspace, project)
        with listener.bar("Uploading", "images") as progress:
            found = upload(
                items,
                project,
                ledger,
                config.roboflow.batch or workspace.root.name,
                relabel=relabel,
                connections=config.roboflow.connections,
                max_pixels=config.max_pixels,
                progress=progress,
            )
    for kind in ("annotated", "changed"):
        for path, why in found[kind][:5]:
            listener.warn(f"{path}: {why}")
    raise_unless_there(found)
    return {"workspace": project.workspace, "project": project.name, **found}


def ledger_of(workspace: Workspace, project: RoboflowProject) -> Ledger:
    return Ledger(workspace.uploads / f"{project.workspace}--{project.name}.jsonl")
