"""Fourteen nights of a retraining job: new images, damage, a drift, a spoiled student, a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.cli import main
from pipeline.files import cache_dir
from pipeline.sample.draw import draw_sample
from pipeline.student.kept import Students
from pipeline.teachers.pruning import cache_entries
from tests.fakes import sha256
from tests.repository import REPOSITORY

NEW = 24  # images a night
DAMAGED, DRIFT, SPOILED, KILLED, REMOVED, QUIET = 4, 6, 8, 10, 12, (3, 13)


def night(*words: str) -> Result:
    """What the job runs."""
    return CliRunner().invoke(
        main, ["run", "--if-changed", "--config", "run.yaml", "--json", *words]
    )


def told(result: Result) -> Any:
    assert result.exit_code in (0, 3), result.stderr
    return json.loads(Path("run/evaluation.json").read_text())


def write(settings: dict[str, Any], **student: Any) -> None:
    chosen = settings | {"student": settings["student"] | student}
    Path("run.yaml").write_text(yaml.safe_dump(chosen, sort_keys=False))


def kill_while_labeling() -> None:
    """Start the job in a process of its own and kill it once it has labeled."""
    before = Path("run/label.json").stat().st_mtime_ns
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "run", "--if-changed", "--config", "run.yaml"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 300
    try:
        while Path("run/label.json").stat().st_mtime_ns == before:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL  # and not by an end of its own


def best_stays(evaluation: Any, before: Path | None, now: Path) -> tuple[frozenset[str], float]:
    """Assert that of the student in use and the new one that is in use now which is right on more
    of the same images; return these images and what share of them it has right."""
    tested = frozenset(pl.read_parquet("run/answers.parquet").drop_nulls("truth")["id"])
    against = evaluation["against"]
    if before is None:
        assert against is None
        return tested, evaluation["student"]["accuracy"]["value"]
    assert against["promoted"] == before.name
    assert against["measure"] == "accuracy" and against["paired"]
    assert against["images"] == len(tested)
    assert against["new"] == evaluation["student"]["accuracy"]["value"]
    assert (now.name == before.name) == (against["new"] < against["old"])
    return tested, max(against["new"], against["old"])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_fortnight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_sample(tmp_path / "drawn", images=17 * NEW, test=120, workers=2)
    waiting = sorted((tmp_path / "drawn" / "images").iterdir())
    photos = tmp_path / "photos"
    photos.mkdir()
    known = yaml.safe_load((REPOSITORY / "configs" / "packing_line.yaml").read_text())
    known.pop("pool_truth", None)
    settings = known | {
        "dataset": {"splits": {"train": 0.7, "valid": 0.2, "test": 0.1}},
        "source": "photos", "truth": "drawn/test", "workspace": "run",
        "student": {"rounds": 1,
                    "model": "yolov8n-cls.yaml", "imgsz": 64, "epochs": 8, "batch": 16,
                    "train": {"lr0": 0.003, "erasing": 0.0},
                    "workers": 0, "start": "promoted", "keep": 4},
        "evaluate": {"latency_images": 8, "cold_starts": False, "disagreements": 0, "margin": 0.0,
                     "gates": {"regression": "<= 0.0"}},
    }  # fmt: skip
    write(settings)
    shares: list[tuple[frozenset[str], float]] = []  # a night's test images, and how many are right
    splits: dict[str, str] = {}
    for number in range(1, 15):
        if number not in QUIET:
            for _ in range(4 * NEW if number == 1 else NEW):
                path = waiting.pop(0)
                if number == DRIFT:
                    pixels = 255 - np.asarray(Image.open(path).convert("RGB")) // 3
                    Image.fromarray(pixels).save(photos / f"{path.stem}_drift.png")
                else:
                    shutil.copy(path, photos / path.name)
        if number == DAMAGED:
            for place in range(3):
                (photos / f"damaged_{place}.jpg").write_bytes(
                    waiting[0].read_bytes()[: 300 + place]
                )
        if number == REMOVED:
            for path in sorted(photos.iterdir())[:5]:
                path.unlink()
        write(
            settings, **({"start": "scratch", "train": {"lr0": 1e-7}} if number == SPOILED else {})
        )
        promoted = Students(tmp_path / "run" / "students").promoted
        if number == KILLED:
            kill_while_labeling()
        result = night()
        if number in QUIET:
            assert result.exit_code == 0 and json.loads(result.stdout) == {"changed": False}
            continue
        evaluation = told(result)
        now = Students(tmp_path / "run" / "students").promoted
        assert now is not None
        shares.append(best_stays(evaluation, promoted, now))
        if number == SPOILED:
            assert result.exit_code == 3 and "regression" in result.stderr
            assert promoted is not None and now.name == promoted.name
            write(settings)  # in the morning somebody puts it right
            evaluation = told(night())
            again = Students(tmp_path / "run" / "students").promoted
            assert again is not None
            shares.append(best_stays(evaluation, promoted, again))
            verified = told(night("--verify"))
            assert verified["student"]["accuracy"] == evaluation["student"]["accuracy"]
        if number == DRIFT:
            assert "do not look like" in evaluation["drift"]["sentence"]
            assert "do not look like" in Path("run/report.md").read_text()
        if number == DAMAGED:
            statuses = dict(pl.read_parquet("run/images.parquet").group_by("status").len().rows())
            assert statuses["unreadable"] == 3
        plan = dict(pl.read_parquet("run/dataset.parquet").select("id", "split").iter_rows())
        assert {
            one: split for one, split in splits.items() if one in plan and plan[one] != split
        } == {}
        splits |= plan

    images = {sha256(path) for path in photos.iterdir() if not path.name.startswith("damaged")}
    labels = pl.read_parquet("run/labels.parquet")
    assert sorted(labels["id"]) == sorted(images)  # each once; what was removed has left
    seen = images | {sha256(path) for path in (tmp_path / "drawn" / "test").rglob("*.jpg")}
    (entry,) = cache_entries(cache_dir() / "embeddings")
    assert entry.images <= len(seen) + 5  # the removed ones were embedded, too
    # Test images that look like learned ones are left out, so only some nights have the same.
    for (tested, share), (again, later) in pairwise(shares):
        assert tested != again or later >= share
