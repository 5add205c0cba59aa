"""`deploy`: the student in use to the Roboflow project."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.errors import WorkspaceError
from pipeline.listener import SILENT, Listener
from pipeline.roboflow.client import project_of
from pipeline.run.workspace import Workspace
from pipeline.student.card import read_card
from pipeline.student.kept import Students


def deploy_student(config: Config, listener: Listener = SILENT) -> dict[str, Any]:
    """Send the promoted student's weights to the config's project.

    Raises:
        WorkspaceError: no student is promoted yet.
        UploadError: the weights are not taken.
    """
    workspace = Workspace(config.workspace)
    promoted = Students(workspace.students).promoted
    if promoted is None:
        raise WorkspaceError(
            f"{workspace.root} has no promoted student. Run `clip2yolo evaluate` first."
        )
    project = project_of(config)
    project.open()
    name = f"{workspace.root.name}-{promoted.name}".lower()
    for sentence in project.deploy(promoted, name, _family(promoted)):
        listener.warn(sentence)
    return {
        "workspace": project.workspace,
        "project": project.name,
        "model": name,
        "student": promoted.name,
    }


def _family(student: Path) -> str:
    """What Roboflow calls the student's architecture, by the model that it was trained from."""
    found = re.search(r"yolo[a-z0-9]+-cls", read_card(student).model)
    return found[0] if found else "yolov8n-cls"
