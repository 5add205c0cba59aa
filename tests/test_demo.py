"""`clip2yolo demo`: the sample without a checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.config import load_config
from tests.repository import REPOSITORY

CONFIG = REPOSITORY / "configs" / "packing_line.yaml"


@pytest.mark.parametrize("kind", ["somebody's", "a config that was changed", "a half sample"])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "demo"
    place, status = {
        "somebody's": (folder / "a" / "photo.jpg", "is not empty (it holds a/photo.jpg)"),
        "a config that was changed": (folder / "configs" / CONFIG.name, "as the demo wrote it"),
        "a half sample": (folder / "datasets" / "packing_line" / "images", "not a whole sample"),
    }[kind]
    place.parent.mkdir(parents=True)
    if kind == "a half sample":
        (folder / "configs").mkdir()
        shutil.copy(CONFIG, folder / "configs")
        place.mkdir()
        place = place / "mine.jpg"
    place.write_text("dear to me")
    done = CliRunner().invoke(main, ["demo", str(folder)])
    assert done.exit_code == 2 and status in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    assert place.read_text() == "dear to me"
    assert not (folder / "runs").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("dear to me")
    done = CliRunner().invoke(main, ["demo", str(tmp_path / "demo")])
    assert done.exit_code == 2 and "is a file" in done.stderr


def test_the_repository_is_such_a_folder(tmp_path: Path) -> None:
    """`make` draws by the same command; a link that was not kept would make it refuse."""
    from pipeline.sample import folder

    own = Path(folder.__file__).with_name("packing_line.yaml")
    assert CONFIG.read_bytes() == own.read_bytes()
    config = load_config(CONFIG)
    assert config.workspace == REPOSITORY / "runs" / "packing_line"
    assert config.truth == REPOSITORY / "datasets" / "packing_line" / "test"


@pytest.mark.slow
def test_from_the_wheel_alone(tmp_path: Path) -> None:
    """What the wheel holds is enough, and nothing of a checkout is in reach."""
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path), str(REPOSITORY)], check=True, timeout=300,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0].split("-")[0] for name in archive.namelist()}
        archive.extractall(tmp_path / "site")
    assert tops == {"pipeline", "clip2yolo"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def demo(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from pipeline.cli import main; main()", "demo", *words],
            cwd=elsewhere, env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
            capture_output=True, text=True, check=False, timeout=1800,
        )  # fmt: skip

    done = demo()
    assert done.returncode == 0, done.stderr
    report = elsewhere / "clip2yolo-demo" / "runs" / "packing_line" / "report.html"
    assert report.is_file() and str(report) in done.stdout.replace("\n", "")
    evaluation = json.loads(report.with_name("evaluation.json").read_text())
    assert evaluation["student"]["accuracy"]["value"] > 0.9
    before = report.stat().st_mtime_ns
    again = demo("clip2yolo-demo")
    assert again.returncode == 0 and report.stat().st_mtime_ns == before
