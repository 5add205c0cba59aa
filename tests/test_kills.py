"""Two hundred SIGKILLs over all stages: what comes out is what an undisturbed run makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.fakes import photos, sha256
from tests.repository import REPOSITORY

CONFIG = """\
source: ../shots
truth: ../truth
workspace: run
ontology: {an apple: red, a banana: yellow}
label: {min_confidence: 0.0}
dataset: {near_duplicate: null}
student: {imgsz: 32, epochs: 2, batch: 8, device: cpu, workers: 0}
evaluate: {latency_images: 8, cold_starts: false}
"""


CLOCK = {
    *("latency_ms", "throughput", "throughput_model_only", "throughput_by_batch", "measured_with"),
    *("speedup", "cold_start_s", "peak_memory_mb"),
}
NAMED = {"outcome", "against"}  # hold the student's name, and with it the time of day


def _without_clock(known: Any) -> Any:
    if isinstance(known, list):
        return [_without_clock(one) for one in known]
    if not isinstance(known, dict):
        return known
    return {key: _without_clock(one) for key, one in known.items() if key not in CLOCK | NAMED}


def made(folder: Path) -> dict[str, Any]:
    """What a run has made, without its clock: times of day, and how long anything took."""
    import torch

    run = folder / "run"
    weights = torch.load(run / "student" / "weights.pt", weights_only=False)["model"].state_dict()
    evaluation = _without_clock(json.loads((run / "evaluation.json").read_text("utf-8")))
    files = (run / "dataset").rglob("*.png")
    return {
        "labels": pl.read_parquet(run / "labels.parquet").to_dicts(),
        "images": pl.read_parquet(run / "images.parquet").drop("mtime_ns").to_dicts(),
        "dataset": pl.read_parquet(run / "dataset.parquet").to_dicts(),
        "files": {
            str(path.relative_to(run)): sha256(path) for path in files if path.suffix == ".png"
        },
        "review": (run / "review.csv").read_text("utf-8"),
        "weights": {name: tensor.tolist() for name, tensor in weights.items()},
        "evaluation": evaluation,
        "students": len([path for path in (run / "students").iterdir() if path.is_dir()]),
        "left behind": sorted(path.name for path in run.rglob(".*tmp-*")),
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks and sends SIGKILL")
def test_kills_change_nothing(tmp_path: Path) -> None:
    photos(tmp_path / "shots", {"red": 20, "yellow": 20})
    photos(tmp_path / "truth" / "red", {"red": 6}, start=500)
    photos(tmp_path / "truth" / "yellow", {"yellow": 6}, start=500)
    for name, kills in (("undisturbed", 0), ("killed", 200)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.yaml").write_text(CONFIG)
        cache = {"CLIP2YOLO_CACHE": str(tmp_path / f"cache of {name}"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "tests.killed", str(tmp_path / name / "run.yaml"),
             str(kills), "7"],
            capture_output=True, text=True, cwd=REPOSITORY, env=os.environ | cache, timeout=3000,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    one, other = made(tmp_path / "undisturbed"), made(tmp_path / "killed")
    for part in one:
        assert one[part] == other[part], part
    assert one["left behind"] == []
