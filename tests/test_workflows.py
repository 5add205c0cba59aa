"""The workflows' own scripts, run as the job would run them."""

from __future__ import annotations

import os
import re
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


def jobs(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((WORKFLOWS / name).read_text())["jobs"]
    return found


def steps(name: str) -> dict[str, dict[str, Any]]:
    """The named steps of all jobs; of those with one name, the first."""
    every = [step for job in jobs(name).values() for step in job["steps"] if "name" in step]
    return {step["name"]: step for step in reversed(every)}


def run(step: dict[str, Any], folder: Path, status: int = 0, **environment: str) -> str:
    """Run a step's script as GitHub does: bash, ending at the first error."""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stdout + done.stderr


def test_ci_runs_what_people_can_run() -> None:
    """Everything by targets of make; the first job by those that the README names."""
    readme, makefile = ((REPOSITORY / n).read_text() for n in ("README.md", "Makefile"))
    commands = {
        name: [step["run"] for step in job["steps"] if "run" in step]
        for name, job in jobs("ci.yml").items()
    }
    assert commands["check"] == ["make lint", "make test", "make test-slow"]
    assert all(command in readme for command in commands["check"])
    for words in (command.split() for several in commands.values() for command in several):
        assert words[0] == "make" and all(f"\n{word}:" in makefile for word in words[1:])


def test_ci_tries_every_python_and_the_lowest_versions() -> None:
    wanted = re.search(
        r'requires-python = ">=3\.(\d+)"', (REPOSITORY / "pyproject.toml").read_text()
    )
    assert wanted is not None
    found = jobs("ci.yml")
    pythons = {*found["pythons"]["strategy"]["matrix"]["python"], "3.11"}
    assert pythons == {f"3.{minor}" for minor in range(int(wanted[1]), 14)}
    assert found["lowest"]["steps"][-1]["run"] == "make lowest"


@pytest.mark.parametrize("name", ["ci.yml", "retrain.yml"])
def test_no_job_has_more_power_than_it_needs(name: str) -> None:
    text = (WORKFLOWS / name).read_text()
    used = re.findall(r"uses: (\S+)(.*)", text)
    for action, comment in used:
        release = (
            r"@[0-9a-f]{40} # v\d+\.\d+\.\d+" if "docker://" not in action else r":\d+\.\d+\.\d+"
        )
        assert re.search(release + "$", action + comment), f"{action} is not named by its commit"
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    for job in jobs(name).values():
        checkouts = [step for step in job["steps"] if "actions/checkout" in step.get("uses", "")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)
        if "write" in str(job.get("permissions")):
            assert not checkouts and "make" not in str(job) and ".venv" not in str(job)
        if "secrets." in str(job):
            assert "github.event_name != 'pull_request'" in job["if"]


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
@pytest.mark.slow
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
        "student": {"distill": "hard",
                    "model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 1, "workers": 0},
        "evaluate": {"latency_images": 8, "cold_starts": False, "disagreements": 2,
                     "gates": {"accuracy": ">= 0.99"}},
        "roboflow": {"project": "line"},
    }  # fmt: skip
    config = tmp_path / "line.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    output, summary = tmp_path / "output", tmp_path / "summary"
    github = {
        "CONFIG": "line.yaml", "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary),
    }  # fmt: skip
    job = steps("retrain.yml")
    run(job["Retrain"], tmp_path, status=3, **github)
    report = tmp_path / "runs" / "line" / "report.md"
    said = report.read_text()
    assert "| accuracy |" in said and "**failed**" in said
    assert output.read_text().strip() == f"report={report}" and summary.read_text() == said
    # The next time nothing is new, which is no failure, and the report is told all the same.
    output.unlink(), summary.unlink()
    assert "Nothing is new" in run(job["Retrain"], tmp_path, **github)
    assert output.read_text().strip() == f"report={report}" and summary.read_text() == said

    settings["evaluate"]["gates"] = {"accuracy": "high"}
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    output.unlink()
    said = run(job["Retrain"], tmp_path, status=2, **github)
    assert said.count("error: ") == 1 and "gates" in said and "Traceback" not in said
    assert not output.exists()  # so that nothing is posted

    (tmp_path / "bin").mkdir()
    gh = tmp_path / "bin" / "gh"
    gh.write_text('#!/bin/sh\necho "$@" > gh.txt\ncat "$5" >> gh.txt\n')
    gh.chmod(0o755)
    path = f"{gh.parent}:{os.environ['PATH']}"
    comment = job["Comment on the pull request"]
    shutil.copy(report, tmp_path)  # as the artifact is downloaded
    run(comment, tmp_path, NUMBER="7", PATH=path)
    said = (tmp_path / "gh.txt").read_text()
    assert said.startswith("pr comment 7 --body-file report.md") and "**failed**" in said

    settings["evaluate"].pop("gates")
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    send = job["Send the labels to Roboflow"]
    assert "nothing is sent" in run(send, tmp_path, CONFIG="line.yaml", ROBOFLOW_API_KEY="")
    with fake_roboflow() as server:
        out = run(send, tmp_path, CONFIG="line.yaml", **server.environment())
        assert "images are in ws/line" in out and server.projects["line"].images
    assert KEY not in out
