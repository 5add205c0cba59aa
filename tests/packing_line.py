"""Runs like the built-in one, on few drawn frames and with a student that is trained in no time."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.repository import REPOSITORY

QUICK = {"model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 1, "workers": 0}


def half_of(sample: Path, folder: Path) -> Path:
    """Write every second picture of a sample, and its film, into `folder/sample`."""
    half = folder / "sample"
    shutil.copytree(sample / "film", half / "film")
    for place in (sample / "images", *(sample / "test").iterdir()):
        target = half / place.relative_to(sample)
        target.mkdir(parents=True)
        for path in sorted(place.iterdir())[::2]:
            shutil.copy2(path, target)
    with (sample / "pool_truth.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    with (half / "pool_truth.csv").open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(head)
        written.writerows(row for row in rows if (half / row[0]).is_file())
    return half


def settings(student: dict[str, Any], **further: Any) -> dict[str, Any]:
    """The built-in run's settings, for a sample beside the config."""
    known = yaml.safe_load((REPOSITORY / "configs" / "packing_line.yaml").read_text())
    return known | {  # type: ignore[no-any-return]
        "source": "sample/images", "truth": "sample/test",
        "pool_truth": "sample/pool_truth.csv", "workspace": "run",
        "student": QUICK | student,
        "evaluate": {"latency_images": 8, "cold_starts": False, "disagreements": 2},
    } | further  # fmt: skip


def write_config(folder: Path, known: dict[str, Any]) -> Path:
    """Write `run.yaml` into a folder; returns the file."""
    (folder / "run.yaml").write_text(yaml.safe_dump(known, sort_keys=False))
    return folder / "run.yaml"
