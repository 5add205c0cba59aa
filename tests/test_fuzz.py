"""Ten thousand spoilt files: each is read or refused in a sentence, and nothing else happens."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.files import cache_dir
from tests.fakes import photos, sha256
from tests.fuzzing import small_images, spoilt
from tests.repository import REPOSITORY

MEMORY = 1500 << 20  # bytes


def odd_files() -> str:
    """The folder of small files that went wrong, where it is here; the fuzzing works without."""
    folder = REPOSITORY.parent / "shared" / "data" / "odd_files"
    return str(folder) if folder.is_dir() else ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count"), [("images", 6000), ("films", 1000), ("configs", 1500), ("tables", 1500)]
)
def test_spoilt_files_are_read_or_refused(tmp_path: Path, kind: str, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", kind, str(count), str(tmp_path), odd_files()],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["read"] == count
    assert 0 < found["refused"] < count  # some are still readable, and some are not
    assert found["peak"] < MEMORY
    assert done.stderr == ""  # no library talks to a person's terminal


@pytest.mark.slow
def test_a_folder_of_spoilt_images_is_labeled_and_left_as_it_is(tmp_path: Path) -> None:
    rng = random.Random(5)
    photos(tmp_path / "shots", {"red": 10, "yellow": 10})
    for number in range(15):
        for name, data in small_images():
            (tmp_path / "shots" / f"{number}.{name}").write_bytes(spoilt(data, rng))
    (tmp_path / "run.yaml").write_text(
        "source: .\nontology: {an apple: apple, a banana: banana}\nlabel: {min_confidence: 0}\n"
    )
    before = {path: sha256(path) for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    result = CliRunner().invoke(main, ["label", "-c", str(tmp_path / "run.yaml")])
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.output
    workspace = tmp_path / "runs" / "run"
    after = {
        path: sha256(path)
        for path in sorted(tmp_path.rglob("*"))
        if path.is_file() and not path.is_relative_to(workspace)
        and not path.is_relative_to(cache_dir())
    }  # fmt: skip
    assert after == before


@pytest.mark.slow
def test_spoilt_files_of_a_run_are_no_files_of_a_run(tmp_path: Path) -> None:
    """Stamps, tables and records that somebody spoilt: another run makes them anew, or one
    sentence says which of them to delete."""
    rng = random.Random(6)
    photos(tmp_path / "shots", {"red": 12, "yellow": 12})
    config = tmp_path / "run.yaml"
    config.write_text(
        "source: shots\nontology: {an apple: apple, a banana: banana}\nlabel: {min_confidence: 0}\n"
        "student: {imgsz: 32, epochs: 1, batch: 8, device: cpu, workers: 0}\n"
        "evaluate: {latency_images: 8, cold_starts: false}\n"
    )
    runner = CliRunner()
    assert runner.invoke(main, ["run", "-c", str(config)]).exit_code == 0
    workspace = tmp_path / "runs" / "run"
    names = ("label.json", "dataset.json", "train.json", "evaluate.json", "evaluation.json",
             "images.parquet", "labels.parquet", "dataset.parquet", "answers.parquet",
             "review.csv", ".clip2yolo.json", "dataset/.clip2yolo.parquet", "student/student.json",
             "students/promoted")  # fmt: skip
    whole = {name: (workspace / name).read_bytes() for name in names}
    for number in range(300):
        name = names[number % len(names)]
        (workspace / name).write_bytes(spoilt(whole[name], rng))
        for command in ("status", "promote"):
            result = runner.invoke(main, [command, "-c", str(config)])
            assert result.exit_code in (0, 1, 2), (name, result.output)
            assert result.exception is None or isinstance(result.exception, SystemExit), name
        (workspace / name).write_bytes(whole[name])
