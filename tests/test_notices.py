"""Notices: a warning with a picture each, and nothing of a person's is touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import parse_config
from pipeline.labels.notices import tell
from pipeline.labels.refine.batch import Notice
from pipeline.run.stage import Run
from tests.fakes import Told, photos


def run_of(folder: Path, ear: Told) -> Run:
    config = parse_config(
        {"source": "photos", "workspace": "run", "ontology": {"a red box": "red", "a cup": "cup"}},
        folder / "run.yaml",
    )
    return Run.of(config, ear)


def notice(rows: list[int], kind: str = "far", name: str | None = "red") -> Notice:
    return Notice(kind, name, np.array(rows), f"{len(rows)} images alike are called {name!r}.")


def test_a_notice_is_a_warning_that_names_its_picture(tmp_path: Path) -> None:
    paths = [str(path) for path in photos(tmp_path / "photos", {"red": 6, "blue": 6})]
    ear = Told()
    run = run_of(tmp_path, ear)
    told = tell(run, [notice(list(range(12))), notice([7, 8], "none", None)], paths)
    assert [(one.kind, one.class_name, one.images, one.picture) for one in told] == [
        ("far", "red", 12, "01_far.jpg"), ("none", None, 2, "02_none.jpg")
    ]  # fmt: skip
    first, second = (run.workspace.notices / str(one.picture) for one in told)
    assert ear.warned[0] == f"12 images alike are called 'red'. Some of them: {first}."
    assert ear.warned[1].endswith(f"{second}.")
    pixels = np.asarray(Image.open(first).convert("RGB"), float)
    assert pixels.shape == (480, 480, 3)
    # The first six are red, the next three blue, in rows of three; the others are not shown.
    colors = [pixels[y : y + 8, x : x + 8].mean(axis=(0, 1)) for y in (76, 236, 396)
              for x in (76, 236, 396)]  # fmt: skip
    assert [int(color.argmax()) for color in colors] == [0] * 6 + [2] * 3
    empty = np.asarray(Image.open(second).convert("RGB"), float)[320:].mean()
    assert empty < 40  # places that no picture takes


def test_pictures_of_yesterday_go_and_a_persons_files_stay(tmp_path: Path) -> None:
    paths = [str(path) for path in photos(tmp_path / "photos", {"red": 3})]
    run = run_of(tmp_path, Told())
    tell(run, [notice([0]), notice([1])], paths)
    mine = run.workspace.notices / "mine.txt"
    mine.write_text("keep")
    tell(run, [notice([2], "two")], paths)
    assert sorted(path.name for path in run.workspace.notices.iterdir()) == [
        "01_two.jpg",
        "mine.txt",
    ]
    mine.unlink()
    assert tell(run, [], paths) == [] and not run.workspace.notices.exists()


def test_an_image_that_is_gone_leaves_its_place_empty(tmp_path: Path) -> None:
    paths = [str(path) for path in photos(tmp_path / "photos", {"red": 2})]
    Path(paths[0]).unlink()
    run = run_of(tmp_path, Told())
    (told,) = tell(run, [notice([0, 1, 99])], paths)
    pixels = np.asarray(Image.open(run.workspace.notices / str(told.picture)).convert("RGB"), float)
    assert pixels[60:100, 60:100].mean() < 40 < pixels[76:84, 236:244, 0].mean()


@pytest.mark.parametrize(("count", "warnings"), [(5, 5), (6, 6), (30, 6)])
def test_many_notices_are_counted(tmp_path: Path, count: int, warnings: int) -> None:
    paths = [str(path) for path in photos(tmp_path / "photos", {"red": 1})]
    ear = Told()
    run = run_of(tmp_path, ear)
    told = tell(run, [notice([0])] * count, paths)
    assert len(told) == count and len(ear.warned) == warnings
    assert len(list(run.workspace.notices.iterdir())) == min(count, 20)
    assert [one.picture is None for one in told] == [number >= 20 for number in range(count)]
    if count > 5:
        more = "1 more group of" if count == 6 else f"{count - 5} more groups of"
        assert ear.warned[-1].startswith(more)
