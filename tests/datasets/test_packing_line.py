"""The sample: the same pictures for the same seed, never half of one, nothing replaced unasked."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contact_sheet import contact_sheet
from pipeline.errors import ConfigError
from pipeline.pixels import read_rgb
from pipeline.sample.draw import draw_sample, plan
from pipeline.sample.scene import CLASSES, frame
from tests.fakes import sha256
from tests.repository import REPOSITORY


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    assert draw_sample(folder, images=24, test=4, workers=2)
    return folder


def test_pool_is_flat_and_unlabeled_and_test_is_labeled(drawn: Path) -> None:
    pool = sorted((drawn / "images").iterdir())
    assert len(pool) == 24
    assert not any(kind in path.name for path in pool for kind in CLASSES)
    assert sorted(path.name for path in (drawn / "test").iterdir()) == sorted(CLASSES)
    with (drawn / "pool_truth.csv").open(newline="") as file:
        truth = {Path(row["path"]).name: row["class"] for row in csv.DictReader(file)}
    assert set(truth) == {path.name for path in pool}
    assert set(truth.values()) == set(CLASSES)
    assert read_rgb(pool[0].read_bytes()).size == (128, 128)


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def draw_killed_once(out: Path) -> None:
    """Draw a sample in two goes, the first one killed on the way."""
    program = f"""
import contextlib, os, signal
from pathlib import Path
from pipeline.listener import Listener
from pipeline.sample.draw import draw_sample

class Killer(Listener):
    def bar(self, title, unit):
        return contextlib.nullcontext(lambda done, total: os.kill(os.getpid(), signal.SIGKILL))

if __name__ == "__main__":
    draw_sample(Path({str(out)!r}), images=24, test=4, workers=1, listener=Killer())
"""
    file = out.with_suffix(".py")
    file.write_text(program)
    killed = subprocess.run(
        [sys.executable, str(file)], env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    kept = {p.name: p.stat().st_mtime_ns for p in (out / ".drawing" / "images").iterdir()}
    assert kept and not (out / "images").exists()
    assert draw_sample(out, images=24, test=4, workers=1)
    assert (
        kept.items() <= {p.name: p.stat().st_mtime_ns for p in (out / "images").iterdir()}.items()
    )


@pytest.mark.slow
def test_the_seed_decides_everything_even_after_a_kill(drawn: Path, tmp_path: Path) -> None:
    draw_killed_once(tmp_path / "same")
    assert files(tmp_path / "same") == files(drawn)
    draw_sample(tmp_path / "other", images=24, test=4, seed=1, workers=1)
    same = set(files(tmp_path / "other").values()) & set(files(drawn).values())
    assert same == {sha256(drawn / "film" / "truth.csv")}  # the schedule is always the same


def test_no_two_frames_are_alike() -> None:
    frames = [frame("orange", 0, stream, index) for stream in (0, 1) for index in range(3)]
    assert frames[0].dtype == np.uint8
    assert len({one.tobytes() for one in frames}) == len(frames)


def test_the_plan_keeps_its_shares() -> None:
    kinds = [job.kind for job in plan(1200, 400, 0)]
    assert [kinds[:1200].count(kind) for kind in CLASSES] == [360, 336, 288, 216]
    assert [kinds[1200:].count(kind) for kind in CLASSES] == [100] * 4


def test_a_sample_that_is_there_is_neither_drawn_again_nor_replaced_unasked(drawn: Path) -> None:
    before = files(drawn)
    assert not draw_sample(drawn, images=24, test=4)
    with pytest.raises(ConfigError, match="made otherwise"):
        draw_sample(drawn, images=28, test=4)
    assert files(drawn) == before


def test_other_peoples_files_are_safe(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").write_bytes(b"dear to me")
    with pytest.raises(ConfigError, match="not a whole sample"):
        draw_sample(tmp_path, images=24, test=4)
    assert (tmp_path / "images" / "mine.jpg").read_bytes() == b"dear to me"


def test_impossible_counts_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 20 images"):
        draw_sample(tmp_path, images=3)


def test_contact_sheet(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png", columns=2, rows=1)
    assert read_rgb((tmp_path / "sheet.png").read_bytes()).height == len(CLASSES) * 128
