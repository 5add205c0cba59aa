"""`deploy`: the student in use to the Roboflow project."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.errors import UploadError, WorkspaceError
from pipeline.export.proved import proved_exports
from pipeline.listener import SILENT, Listener
from pipeline.roboflow.names import open_project
from pipeline.run.workspace import Workspace
from pipeline.student.card import architecture, read_card
from pipeline.student.kept import Students


def deploy_student(config: Config, listener: Listener = SILENT) -> dict[str, Any]:
    """Send the promoted student's weights to the config's project. Roboflow takes PyTorch's alone;
    which other formats of this student were proved stands in `exports` of what is returned.

    Raises:
        WorkspaceError: no student is promoted yet.
        StudentError: its weights are damaged.
        UploadError: the weights are not taken.
    """
    workspace = Workspace(config.workspace)
    promoted = Students(workspace.students).promoted
    if promoted is None:
        raise WorkspaceError(
            f"{workspace.root} has no promoted student. Run `clip2yolo evaluate` first."
        )
    family = _family(promoted)
    project = open_project(config)
    name = f"{workspace.root.name}-{promoted.name}".lower()
    fit = read_card(promoted).fit
    if fit != "stretch":
        # roboflow/inference, inference/core/models/roboflow.py: `resize_method`.
        listener.warn(
            f"{promoted.name} learned with `student: {{fit: {fit}}}`, and Roboflow's Inference "
            "stretches pictures to a square unless it is told otherwise. There it will answer "
            "differently on pictures that are not square. One trained with "
            "`student: {fit: stretch}` will not."
        )
    for sentence in project.deploy(promoted, name, family):
        listener.warn(sentence)
    return {
        "workspace": project.workspace,
        "project": project.name,
        "model": name,
        "student": promoted.name,
        "exports": [asdict(one) for one in proved_exports(workspace.exports, promoted)],
    }


def _family(student: Path) -> str:
    """What Roboflow calls the student's architecture, by its weights.

    Raises:
        StudentError: the weights are damaged.
        UploadError: they are of no architecture that Roboflow tells by its name.
    """
    from pipeline.yolo.library import load_checkpoint

    # Refuses what could run code, too: packaging opens the file as it is.
    checkpoint = load_checkpoint(student / "weights.pt")
    name = architecture(checkpoint.get("ema") or checkpoint["model"], read_card(student))
    if not re.fullmatch(r"yolov?\d+[a-z]?-cls", name):
        raise UploadError(
            f"{student} is built as {name!r}, which Roboflow does not take. Train from one of "
            "ultralytics' own, like yolov8n-cls.pt."
        )
    return name
