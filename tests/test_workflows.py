"""The workflows' own scripts, run as the job would run them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fake_roboflow import KEY, fake_roboflow
from tests.repository import REPOSITORY

WORKFLOWS = REPOSITORY / ".github" / "workflows"


def steps(name: str) -> dict[str, dict[str, Any]]:
    (job,) = yaml.safe_load((WORKFLOWS / name).read_text())["jobs"].values()
    return {step["name"]: step for step in job["steps"] if "name" in step}


def run(step: dict[str, Any], folder: Path, status: int = 0, **environment: str) -> str:
    """Run a step's script as GitHub does: bash, ending at the first error."""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout


def test_ci_runs_what_the_readme_tells_people() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    commands = [step["run"] for step in steps("ci.yml").values() if "run" in step]
    assert commands == ["make lint", "make test", "make test-slow"]
    assert all(command in readme for command in commands)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_job_sets_itself_up() -> None:
    """What it would do: as it stands it draws the built-in sample, for another config nothing."""
    script = steps("retrain.yml")["Set up"]["run"]
    assert script.startswith("make ")
    dry = {"run": script.replace("make ", "make --dry-run --always-make ", 1)}
    own = run(dry, REPOSITORY, CONFIG="configs/mine.yaml")
    sample = run(dry, REPOSITORY, CONFIG="configs/packing_line.yaml")
    assert "pip install" in own and "clip2yolo demo" not in own
    assert "clip2yolo demo" in sample


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_retraining_job(tmp_path: Path, sample: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name, module in (("clip2yolo", "-m pipeline.cli"), ("python", "")):
        script = tmp_path / ".venv" / "bin" / name
        script.write_text(
            f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}" exec "{sys.executable}" {module} "$@"\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
    shutil.copytree(sample, tmp_path / "drawn")
    settings = yaml.safe_load((REPOSITORY / "configs" / "packing_line.yaml").read_text())
    settings.pop("pool_truth", None)
    settings |= {
        "source": "drawn/images", "truth": "drawn/test", "workspace": "runs/line",
        "dataset": {"splits": {"train": 0.6, "valid": 0.2, "test": 0.2}},
        "student": {"model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 1, "workers": 0},
        "evaluate": {"latency_images": 8, "disagreements": 2},
        "roboflow": {"project": "line"},
    }  # fmt: skip
    config = tmp_path / "line.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    output, summary = tmp_path / "output", tmp_path / "summary"
    github = {
        "CONFIG": "line.yaml", "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary),
    }  # fmt: skip
    job = steps("retrain.yml")
    run(job["Retrain"], tmp_path, **github)
    report = tmp_path / "runs" / "line" / "report.md"
    assert output.read_text().strip() == f"report={report}"
    assert summary.read_text() == report.read_text() and "| accuracy |" in summary.read_text()
    assert "Nothing is new" in run(job["Retrain"], tmp_path, **github)

    settings["evaluate"]["gates"] = {"accuracy": ">= 0.99"}
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    summary.unlink()
    run(job["Retrain"], tmp_path, status=3, **github)
    assert "**failed**" in summary.read_text()

    (tmp_path / "bin").mkdir()
    gh = tmp_path / "bin" / "gh"
    gh.write_text('#!/bin/sh\necho "$@" > gh.txt\ncat "$5" >> gh.txt\n')
    gh.chmod(0o755)
    path = f"{gh.parent}:{os.environ['PATH']}"
    comment = job["Comment on the pull request"]
    run(comment, tmp_path, REPORT=str(report), NUMBER="7", PATH=path)
    said = (tmp_path / "gh.txt").read_text()
    assert said.startswith(f"pr comment 7 --body-file {report}") and "**failed**" in said

    send = job["Send the labels to Roboflow"]
    assert "nothing is sent" in run(send, tmp_path, CONFIG="line.yaml", ROBOFLOW_API_KEY="")
    with fake_roboflow() as server:
        out = run(send, tmp_path, CONFIG="line.yaml", **server.environment())
        assert "images are in ws/line" in out and server.projects["line"].images
    assert KEY not in out
