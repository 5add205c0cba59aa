"""How a report came about: what somebody needs to make it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import yaml

from pipeline.keys import without_key
from pipeline.run.stage import Run, Stage

_LONGEST = 30_000  # signs of a config that are shown
_LIBRARIES = (
    *("torch", "ultralytics", "open_clip_torch", "timm", "transformers", "numpy", "pillow"),
    *("polars", "onnxruntime", "openvino"),
)
# A name and a password in an address.
_SIGNED_IN = re.compile(r"(?<=://)[^/\s@'\"]+@")


@dataclass(frozen=True)
class Finished:
    """A stage that the report rests on."""

    name: str
    summary: str
    seconds: float
    finished: str


@dataclass(frozen=True)
class Made:
    """How a report came about."""

    command: str
    config_name: str
    config: str
    seeds: dict[str, int]
    stages: list[Finished]
    versions: dict[str, str]


def how_made(run: Run, stages: Sequence[Stage[Any, Any]]) -> Made:
    """Say how the evaluation of a run came about.

    Args:
        run: the run.
        stages: those before the evaluation.
    """
    config = run.config
    finished = []
    for stage in stages:
        if (stamp := stage.stamp(run.workspace)) is not None:
            when = stamp.finished.replace("T", " ").removesuffix("+00:00")
            finished.append(Finished(stage.name, stage.summary(stamp.counts), stamp.seconds, when))
    return Made(
        command=without_key(f"clip2yolo run --config {shlex.quote(config.file.name)}"),
        config_name=without_key(config.file.name),
        config=_config_text(run),
        seeds={"dataset": config.dataset.seed, "student": config.student.seed},
        stages=finished,
        versions=_versions(),
    )


def _config_text(run: Run) -> str:
    """The config as it was written; one that was made in Python as it would be written."""
    file = run.config.file
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        settings = run.config.model_dump(mode="json", by_alias=True, exclude_unset=True)
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    text = _SIGNED_IN.sub("", without_key(text))
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}\n… {len(text) - _LONGEST:,} more signs in {file.name}"


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed had no part in it
    return found
