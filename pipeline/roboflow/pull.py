"""A version of a project back from Roboflow: what people decided there."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from pipeline.config import Config
from pipeline.errors import ConfigError, UploadError
from pipeline.labels.decisions import decisions_of, match, read_decisions, write_decisions
from pipeline.listener import SILENT, Listener
from pipeline.ontology import ontology_of
from pipeline.records import LABELS, read_table
from pipeline.roboflow.client import RoboflowProject
from pipeline.roboflow.ledger import Ledger
from pipeline.roboflow.names import open_project
from pipeline.roboflow.upload import ledger_of
from pipeline.run.workspace import Workspace

# `IMG_1-3f0a9c12ab34.jpg` comes back as `IMG_1-3f0a9c12ab34_jpg.rf.<hash>.jpg`.
_OURS = re.compile(r"-([0-9a-f]{12})(?:[_.]\w+)*(?:\.rf\.|\.)")
_SPLITS = ("train", "valid", "test")


def pull(
    project: RoboflowProject, version: int, ids: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Download a version and read its labels.

    Images are recognized by the part of their id that the upload put into their names; the pixels
    may have been resized there.

    Args:
        project: opened.
        version: its number.
        ids: the run's images.

    Returns:
        id → class, and the names of images that are not of this run.

    Raises:
        UploadError: the version cannot be fetched, is no set of class folders, or gives one image
            two classes.
    """
    known = {image_id[:12]: image_id for image_id in ids}
    with tempfile.TemporaryDirectory(prefix="clip2yolo-pull-") as folder:
        file = Path(folder) / "export.zip"
        project.export(version, file)
        try:
            # Names are all that is read: however much the files claim to hold, nothing is unpacked.
            with zipfile.ZipFile(file) as archive:
                names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
            raise UploadError("What Roboflow sent is no zip file. Run again.") from None
    decided: dict[str, str] = {}
    strangers = []
    for name in names:
        parts = PurePosixPath(name).parts
        if len(parts) < 3 or parts[-3] not in _SPLITS:
            continue  # a README
        # The last one is ours: an image that came from Roboflow before has one of that time, too.
        found = _OURS.findall(parts[-1])
        image_id = known.get(found[-1]) if found else None
        if image_id is None:
            strangers.append(parts[-1])
        elif decided.setdefault(image_id, parts[-2]) != parts[-2]:
            raise UploadError(
                f"{parts[-1]} has two classes: {decided[image_id]!r} and {parts[-2]!r}."
            )
    if not decided and not strangers:
        raise UploadError(f"Version {version} holds no class folders. Was it a classification?")
    return decided, strangers


def corrections(decided: Mapping[str, str], labels: pl.DataFrame, ledger: Ledger) -> dict[str, str]:
    """Return what people decided: classes that differ from what was sent, or where none was sent.

    An image that came back as it went says nothing: nobody may have looked at it.

    Args:
        decided: id → class, from `pull`.
        labels: labels.parquet's columns id and class.
        ledger: of the project; what it does not know is compared with `labels`.
    """
    ours = dict(labels.select("id", "class").iter_rows())
    found = {}
    for image_id, class_name in decided.items():
        entry = ledger.entries.get(image_id)
        sent = entry.name if entry is not None else ours.get(image_id)
        if sent != class_name or (entry is not None and entry.state == "annotated"):
            found[image_id] = class_name
    return found


def taken_back(
    before: Mapping[str, str], decided: Mapping[str, str], ledger: Ledger
) -> frozenset[str]:
    """Return the ids of earlier corrections that are no more: Roboflow shows the label that was
    sent, and it is not the correction itself, sent since.

    Args:
        before: id → class, of earlier pulls.
        decided: id → class, from `pull`.
        ledger: of the project; where it does not know what was sent, nothing is taken back.
    """
    return frozenset(
        image_id
        for image_id, class_name in decided.items()
        if image_id in before and before[image_id] != class_name
        if (entry := ledger.entries.get(image_id)) is not None
        if entry.state == "done" and entry.name == class_name
    )


def pull_labels(
    config: Config, version: int | None = None, listener: Listener = SILENT
) -> dict[str, Any]:
    """Take what people corrected on Roboflow into the run: `human.csv`, which labeling obeys.

    Decisions of earlier pulls stay unless this version says otherwise: with another class, or with
    the one that was sent, which means that somebody took the correction back there.

    Raises:
        UploadError: the version cannot be fetched.
        ConfigError: it has a class that the ontology lacks.
    """
    ontology = ontology_of(config)
    workspace = Workspace(config.workspace)
    with workspace.locked():
        labels = read_table(workspace.labels, LABELS, "label", ["id", "path", "class"])
        project = open_project(config)
        version = version or project.latest_version()
        decided, strangers = pull(project, version, labels["id"].to_list())
        ledger = ledger_of(workspace, project)
        found = corrections(decided, labels, ledger)
        unknown = sorted(set(found.values()) - set(ontology.classes))
        if unknown:
            raise ConfigError(
                f"Version {version} has the class {unknown[0]!r}, which the ontology does not have "
                f"({', '.join(ontology.classes)}). Add a prompt for it, or rename it on Roboflow."
            )
        before, absent = match(read_decisions(workspace.human, ontology), labels)
        undone = taken_back(before, decided, ledger)
        kept = {one: name for one, name in before.items() if one not in undone}
        write_decisions(workspace.human, pl.concat([decisions_of(kept | found, labels), absent]))
    listener.say(f"{len(found):,} decisions of people in version {version}.")
    if undone:
        listener.say(f"{len(undone):,} decisions of earlier pulls were taken back there.")
    return {
        "version": version,
        "images": len(decided),
        "decisions": len(found),
        "strangers": len(strangers),
    }
