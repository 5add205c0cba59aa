"""A picture with more than `max_pixels` is refused on every path, one with as many is not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.classify import classify_with_student, classify_with_teachers
from pipeline.cli import main
from pipeline.dataset.export import place_image
from pipeline.errors import SourceError
from pipeline.evaluation.assess import HeldOut, Measured, assess
from pipeline.evaluation.measure import measure_latency, predict_files
from pipeline.evaluation.report import render_report
from pipeline.images.frames import extract
from pipeline.images.truth import read_truth
from pipeline.ontology import build_ontology
from pipeline.pixels import read_pixels
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.threads import embed
from pipeline.teachers.panel import Panel
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts
from pipeline.timeline import watch
from pipeline.values import Sampling
from tests.evaluations import LABELS
from tests.fakes import NAMES, ColorPredictor, ColorTeacher, panel_of, picture, sha256

LIMIT = 1000  # pixels
FITS, LARGE = (40, 25), (40, 26)
SAYS = r"more than `max_pixels` \(1,000\)"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A picture with just as many pixels as are allowed, and one with a row more."""
    folder = tmp_path / "photos" / "red"
    folder.mkdir(parents=True)
    for name, size in (("a_fits", FITS), ("b_large", LARGE)):
        picture("red", 0, size).save(folder / f"{name}.png")
    return folder / "a_fits.png", folder / "b_large.png"


class ReducingTeacher(ColorTeacher):
    """Takes pictures that were decoded at a reduced size, as arrays."""

    def read(self, data: bytes, max_pixels: int) -> np.ndarray:
        return self.prepare(Image.fromarray(read_pixels(data, max_pixels, 8).array))


@pytest.mark.parametrize("teacher", [ColorTeacher(), ReducingTeacher()])
def test_the_teachers_vectors(teacher: Any, pair: tuple[Path, Path], tmp_path: Path) -> None:
    pairs = [(sha256(path), str(path)) for path in pair]
    cache = EmbeddingCache(tmp_path / "cache", "c")
    done = embed(teacher, pairs, cache, max_pixels=LIMIT)
    assert done.computed == 1 and list(done.failures) == [pairs[1][0]]
    assert "more than `max_pixels` (1,000)" in done.failures[pairs[1][0]]
    assert embed(teacher, pairs, cache, max_pixels=LIMIT + 40).computed == 1


def test_the_students_answers_and_their_time(pair: tuple[Path, Path]) -> None:
    fits, large = pair
    assert len(predict_files(ColorPredictor(), [fits], max_pixels=LIMIT).probabilities) == 1
    with pytest.raises(SourceError, match=SAYS):
        predict_files(ColorPredictor(), [fits, large], max_pixels=LIMIT)
    assert measure_latency([ColorPredictor()], [fits.read_bytes()], max_pixels=LIMIT)
    with pytest.raises(SourceError, match=SAYS):
        measure_latency([ColorPredictor()], [large.read_bytes()], max_pixels=LIMIT)


def panel() -> tuple[Panel, Any]:
    teacher = ColorTeacher()
    ontology = build_ontology({"red": "red", "blue": "blue"})
    member = ZeroShot(teacher, ontology, embed_prompts(teacher, ontology), ontology.classes)
    return panel_of([member]), ontology


@pytest.mark.parametrize(
    "ask",
    [
        lambda names, limit: classify_with_teachers(names, *panel(), limit),
        lambda names, limit: classify_with_student(names, ColorPredictor(), limit),  # type: ignore[arg-type]
    ],
)
def test_single_pictures(ask: Callable[[list[str], int], Any], pair: tuple[Path, Path]) -> None:
    fits, large = ask([str(path) for path in pair], LIMIT)
    assert fits.problem is None and fits.rows[0].class_name == "red"
    assert large.rows == () and "more than `max_pixels` (1,000)" in large.problem


def page_of(paths: tuple[Path, Path], limit: int) -> str:
    """The report of two predictors that differ on these pictures."""
    sides = ColorPredictor("teacher", bias=50.0), ColorPredictor("student")
    latency = measure_latency(sides, [paths[0].read_bytes()])
    contenders = {
        one.name: Measured(one, predict_files(one, paths), speed)
        for one, speed in zip(sides, latency, strict=True)
    }
    held_out = HeldOut([path.name for path in paths], list(paths), np.array([2, 2]), "photos")
    evaluation = assess(NAMES, held_out, contenders, {"red": 1}, LABELS)
    return render_report(evaluation, max_pixels=limit)


def test_the_reports_thumbnails(tmp_path: Path) -> None:
    paths = tmp_path / "fits.png", tmp_path / "large.png"
    for path, size in zip(paths, (FITS, LARGE), strict=True):
        picture("blue", 0, size).save(path)
    for limit, shown in ((LIMIT - 1, 0), (LIMIT, 1), (LIMIT + 40, 2)):
        page = page_of(paths, limit)
        assert page.count("data:image/jpeg;base64,") == shown
        assert page.count("not readable") == 2 - shown


def test_truth(pair: tuple[Path, Path], tmp_path: Path) -> None:
    truth, problems = read_truth(tmp_path / "photos", LIMIT)
    assert truth["path"].to_list() == [str(pair[0])]
    (problem,) = problems
    assert problem.startswith(f"{pair[1]} cannot be used as truth. It would decode to 1,040 pixels")


def test_formats_that_are_converted_for_the_dataset(tmp_path: Path) -> None:
    for name, size in (("fits", FITS), ("large", LARGE)):
        picture("red", 0, size).save(tmp_path / f"{name}.gif")
    place_image(tmp_path / "fits.gif", tmp_path / "fits.png", LIMIT)
    assert Image.open(tmp_path / "fits.png").size == FITS
    with pytest.raises(SourceError, match=SAYS):
        place_image(tmp_path / "large.gif", tmp_path / "large.png", LIMIT)


def film(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_image(picture("red", number, size))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_films(tmp_path: Path) -> None:
    line, every = film(tmp_path / "line.mkv"), Sampling(1, None, False)
    says = r"frames of 3,072 pixels, more than `max_pixels` \(3,071\)"
    with pytest.raises(SourceError, match=says):
        extract(line, every, tmp_path / "frames", 3071)
    with pytest.raises(SourceError, match=says):
        watch(line, ColorPredictor(), every, 0.0, 3071)
    assert len(extract(line, every, tmp_path / "frames", 3072)[0]) == 5
    assert watch(line, ColorPredictor(), every, 0.0, 3072).frames == 5


def clip2yolo(settings: dict[str, Any], *words: str) -> Result:
    Path("run.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return CliRunner().invoke(main, [*words, "--config", "run.yaml"])


@pytest.fixture
def settings(
    tmp_path: Path, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return {
        "source": "photos", "workspace": "run", "max_pixels": LIMIT, "teacher": "pocket",
        "ontology": {"a red box": "red", "a green leaf": "green", "a blue cup": "blue"},
        "label": {"min_confidence": 0.0},
    }  # fmt: skip


def test_the_configs_limit_reaches_the_scan_and_single_pictures(settings: dict[str, Any]) -> None:
    done = clip2yolo(settings, "ontology")
    assert done.exit_code == 0, done.stderr
    assert "Prompts on 1 image" in done.stdout
    asked = clip2yolo(settings, "classify", "photos", "--json")
    found = json.loads(asked.stdout)
    assert [one.get("problem", "").count("max_pixels") for one in found] == [0, 1]


def usable(settings: dict[str, Any], *words: str) -> tuple[int, int]:
    """Label; returns how many images could be used, and how many not."""
    done = clip2yolo(settings, "label", "--json", *words)
    assert done.exit_code == 0, done.stderr
    counts = json.loads(done.stdout)["label"]
    return counts["usable"], counts["unreadable"]


def test_the_configs_limit_reaches_the_teacher(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan knows the files from before and does not open them: the teacher has to refuse."""
    for number in range(40):
        picture("blue", number, (30, 30)).save(tmp_path / "photos" / "red" / f"{number}.png")
    for path in (tmp_path / "photos" / "red").iterdir():
        os.utime(path, (1.7e9, 1.7e9))  # long ago, so that the scan may believe it
    raised = settings | {"max_pixels": 10_000}
    assert usable(raised) == (42, 0)
    assert usable(settings, "--verify") == (41, 1)  # its vector is in the cache by now
    assert usable(raised) == (42, 0)
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path / "another cache"))
    assert usable(settings) == (41, 1)
    images = pl.read_parquet("run/images.parquet").filter(pl.col("status") == "unreadable")
    assert "more than `max_pixels` (1,000)" in images["reason"][0]


def test_the_configs_limit_reaches_films(settings: dict[str, Any], tmp_path: Path) -> None:
    large = film(tmp_path / "line.mkv")
    settings["source"] = ["photos", str(large)]
    done = clip2yolo(settings, "ontology")
    assert done.exit_code == 0 and "Prompts on 1 image" in done.stdout
    assert "line.mkv: " in done.stderr and "(1,000)" in done.stderr
    watched = clip2yolo(settings, "watch", str(large))
    assert watched.exit_code == 1 and "(1,000)" in watched.stderr
