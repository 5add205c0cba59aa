"""`upload`, `pull` and `deploy`: a run's dataset, labels and student to and from Roboflow."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config import Config
from pipeline.errors import ConfigError, WorkspaceError
from pipeline.promotion import Students
from pipeline.records import DATASET, LABELS, Listener
from pipeline.roboflow.client import RoboflowProject
from pipeline.roboflow.ledger import Ledger
from pipeline.roboflow.pull import corrections, pull
from pipeline.roboflow.upload import Item, is_done, plan_upload, raise_unless_there, upload
from pipeline.stages.common import SILENT, ontology_of
from pipeline.workspace import Workspace, read_table, replacing


def planned(config: Config, only: str) -> list[Item]:
    """Return what `upload_dataset` would send, whether it is there already or not.

    Raises:
        WorkspaceError: there are no labels yet.
    """
    workspace = Workspace(config.workspace)
    labels = read_table(workspace.labels, LABELS, "label")
    dataset = read_table(workspace.dataset_table, DATASET, "label")
    stamp = workspace.stamp("label")
    if stamp is None:
        raise WorkspaceError(f"{workspace.root} has no labels yet. Run `clip2yolo label` first.")
    return plan_upload(labels, dataset, only, workspace.root.name, stamp.counts["teacher"])


def known_to_be_there(config: Config, items: Sequence[Item]) -> int:
    """Count the items that the project's ledger knows to be there; asks nobody."""
    name = glob.escape(f"--{config.roboflow.project}.jsonl")
    folder = Workspace(config.workspace).root / "upload"
    ledgers = [Ledger(path) for path in folder.glob(f"{config.roboflow.workspace or '*'}{name}")]
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
        project = _project(config)
        if project.open(create, config.roboflow.license):
            listener.say(f"Created the project {project.workspace}/{project.name}.")
        ledger = _ledger(workspace, project)
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


def pull_labels(
    config: Config, version: int | None = None, listener: Listener = SILENT
) -> dict[str, Any]:
    """Take what people corrected on Roboflow into the run: `human.csv`, which labeling obeys.

    Decisions of earlier pulls stay unless this version says otherwise.

    Raises:
        UploadError: the version cannot be fetched.
        ConfigError: it has a class that the ontology lacks.
    """
    ontology = ontology_of(config)
    workspace = Workspace(config.workspace)
    with workspace.locked():
        labels = read_table(workspace.labels, LABELS, "label", ["id", "path", "class"])
        project = _project(config)
        project.open()
        version = version or project.latest_version()
        decided, strangers = pull(project, version, labels["id"].to_list())
        found = corrections(decided, labels, _ledger(workspace, project))
        unknown = sorted(set(found.values()) - set(ontology.classes))
        if unknown:
            raise ConfigError(
                f"Version {version} has the class {unknown[0]!r}, which the ontology does not have "
                f"({', '.join(ontology.classes)}). Add a prompt for it, or rename it on Roboflow."
            )
        _add_decisions(workspace.human, found, labels)
    listener.say(f"{len(found):,} decisions of people in version {version}.")
    return {
        "version": version,
        "images": len(decided),
        "decisions": len(found),
        "strangers": len(strangers),
    }


def _add_decisions(path: Path, found: dict[str, str], labels: pl.DataFrame) -> None:
    before = (
        dict(pl.read_csv(path, infer_schema=False).select("id", "class").iter_rows())
        if path.is_file()
        else {}
    )
    both = before | found
    paths = dict(labels.select("id", "path").iter_rows())
    rows = {
        "path": [paths.get(one) for one in both],
        "class": list(both.values()),
        "id": list(both),
    }
    with replacing(path) as aside:
        pl.DataFrame(rows, schema=dict.fromkeys(rows, pl.String)).write_csv(aside)


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
    project = _project(config)
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
    about = json.loads((student / "student.json").read_text("utf-8"))
    found = re.search(r"yolo[a-z0-9]+-cls", str(about["trained_with"]["model"]))
    return found[0] if found else "yolov8n-cls"


def _project(config: Config) -> RoboflowProject:
    section = config.roboflow
    if section.project is None:
        raise ConfigError(
            "The config names no Roboflow project. Add `roboflow: {project: my-project}`."
        )
    return RoboflowProject(
        section.project, section.workspace, timeout=section.timeout, retries=section.retries
    )


def _ledger(workspace: Workspace, project: RoboflowProject) -> Ledger:
    return Ledger(workspace.root / "upload" / f"{project.workspace}--{project.name}.jsonl")
