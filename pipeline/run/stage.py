"""What the stages share: their result, the config's ontology, the state of files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config import Config
from pipeline.files import hashes_of
from pipeline.listener import Listener
from pipeline.run.workspace import Workspace

SILENT = Listener()


@dataclass(frozen=True)
class StageResult:
    """What a stage did: nothing, where it was up to date, or the counts that its stamp holds."""

    stage: str
    skipped: bool
    counts: Mapping[str, Any]
    seconds: float


def with_precision(config: Config, precision: str | None) -> Config:
    """Return the config with all teachers at one precision; None leaves it as it is."""
    if precision is None:
        return config
    teachers = [one.model_copy(update={"precision": precision}) for one in config.teachers]
    return config.model_copy(update={"teachers": teachers})


def up_to_date(workspace: Workspace, stage: str) -> StageResult:
    """Return what an up-to-date stage left behind when it last ran."""
    stamp = workspace.stamp(stage)
    assert stamp is not None  # the caller has just compared its fingerprint
    return StageResult(stage, True, stamp.counts, 0.0)


def teachers_asked(config: Config) -> list[Any]:
    """What a teacher's answers depend on: names, weight, and the files of those in folders."""
    from pipeline.teachers import resolve

    asked = []
    for settings in map(resolve, config.teachers):
        state: list[Any] = []
        if settings.model.startswith("local-dir:"):
            folder = Path(settings.model.removeprefix("local-dir:"))
            state = states_of([path for path in sorted(folder.glob("*")) if path.is_file()])
        elif settings.pretrained:
            state = states_of([Path(settings.pretrained)])
        named = settings.model_dump(
            include={"kind", "model", "pretrained", "weight", "url", "precision"}
        )
        asked.append([named, state])
    return asked


def digest_of(table: pl.DataFrame, *columns: str) -> str:
    """Return a SHA-256 over columns of text, row by row; a million rows take a second."""
    digest = hashlib.sha256()
    for name in columns:
        cells = table[name].fill_null("\0")
        for start in range(0, len(cells), 100_000):
            block = cells[start : start + 100_000].to_list()
            digest.update("\n".join(block).encode() + b"\n")
        digest.update(b"\0\0")
    return digest.hexdigest()


def states_of(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """Name and SHA-256 of each path that is a file; what is none is a model's name, say."""
    files = [path for path in paths if path.is_file()]
    return list(zip((path.name for path in files), hashes_of(files), strict=True))
