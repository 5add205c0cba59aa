"""Runs of other kinds than the built-in one: on a film, with several teachers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.sample import film
from tests.repository import REPOSITORY
from tests.tiny_models import write_model


@pytest.fixture
def settings(tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    known = yaml.safe_load((REPOSITORY / "configs" / "packing_line.yaml").read_text())
    return known | {  # type: ignore[no-any-return]
        "source": str(sample / "images"), "truth": str(sample / "test"), "workspace": "run",
        "label": {"min_confidence": 0.5},
        "student": {"distill": "hard",
                    "model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 1, "workers": 0},
        "evaluate": {"latency_images": 8, "cold_starts": False, "disagreements": 2},
    } | {"pool_truth": str(sample / "pool_truth.csv")}  # fmt: skip


def clip2yolo(settings: dict[str, Any], *words: str) -> Result:
    Path("run.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return CliRunner().invoke(main, [*words, "--config", "run.yaml"])


def answer(settings: dict[str, Any], *words: str) -> Any:
    done = clip2yolo(settings, *words, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_a_film_is_a_source(settings: dict[str, Any], sample: Path) -> None:
    line = sample / "film" / "line.mp4"
    settings["source"] = {"path": str(line), "every": "250ms"}
    del settings["pool_truth"]
    counts = answer(settings, "label")["label"]
    assert counts["found"] == round(film.SECONDS * 4)
    images = pl.read_parquet("run/images.parquet")
    assert images["video"].unique().to_list() == [str(line)]
    assert images["seconds"].diff().drop_nulls().to_list() == pytest.approx([0.25] * 87)
    assert Path(images["path"][1]).name == "line_00-00-00.250.jpg"
    # Frames on either side of a border between splits do not touch.
    plan = pl.read_parquet("run/dataset.parquet").join(images, "path").sort("seconds")
    borders = plan.filter(pl.col("split") != pl.col("split").shift())
    gaps = plan["seconds"].diff().filter(plan["split"] != plan["split"].shift())
    assert len(borders) > 2 and gaps.min() > 0.5
    # What was left out lies at borders: three frames at most at each, of four a second.
    accepted = pl.read_parquet("run/labels.parquet").filter(pl.col("decision") == "accepted")
    assert len(accepted) > 60 and len(plan) >= len(accepted) - 3 * len(borders)
    states = answer(settings, "status")["stages"]
    assert [one["state"] for one in states[:2]] == ["done", "done"]
    assert clip2yolo(settings, "label").stderr.count("up to date") == 2
    # Another sampling removes the frames of the first.
    settings["source"] = {"path": str(line), "every": 16, "skip_similar": True}
    assert answer(settings, "status")["stages"][0]["state"] == "out of date"
    assert answer(settings, "label")["label"]["found"] < 12
    assert len(list(Path("run/frames").iterdir())) == 1


def test_a_damaged_film_is_told_of_and_the_others_are_used(
    settings: dict[str, Any], sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "bad.mp4").write_bytes(b"no film")
    (tmp_path / "films" / "good.mp4").symlink_to(sample / "film" / "line.mp4")
    settings["source"] = "films"
    done = clip2yolo(settings, "label")
    assert done.exit_code == 0 and "bad.mp4" in done.stderr
    images = pl.read_parquet("run/images.parquet")
    (row,) = images.filter(pl.col("status") == "unreadable").iter_rows(named=True)
    assert row["path"].endswith("bad.mp4") and "cannot be opened as a video" in row["reason"]
    for wrong, says in (
        ({"path": "films", "every": "often"}, "is no duration"),
        ({"path": "films", "every": 2, "fps": 3}, "not both"),
        ({"path": "films", "evry": 2}, "`source.evry` is not a key"),
    ):
        done = clip2yolo(settings | {"source": wrong}, "label")
        assert done.exit_code == 2 and says in done.stderr


def test_watching_with_teacher_and_student(settings: dict[str, Any], sample: Path) -> None:
    line = str(sample / "film" / "line.mp4")
    table = clip2yolo(settings, "watch", line)
    assert table.exit_code == 0 and "banana" in table.stdout
    events = answer(settings, "watch", line)
    assert events[0]["start"] == 0 and events[-1]["end"] == pytest.approx(film.SECONDS, abs=0.3)
    rows = list(csv.DictReader(io.StringIO(clip2yolo(settings, "watch", line, "--csv").stdout)))
    assert [row["class"] for row in rows] == [one["class_name"] for one in events]
    # How long the right class is shown, of the whole film.
    right = sum(
        max(0.0, min(one["end"], end) - max(one["start"], start))
        for one in events
        for start, end, kind in film.truth()
        if one["class_name"] == kind
    )
    assert right / film.SECONDS > 0.7
    missing = clip2yolo(settings, "watch", line, "--student")
    assert missing.exit_code == 1 and "holds no student" in missing.stderr
    wrong = clip2yolo(settings, "watch", line, "--every", "soon")
    assert wrong.exit_code == 2 and "durations" in wrong.stderr
    gone = clip2yolo(settings, "watch", "nowhere.mp4")
    assert gone.exit_code == 1 and "nowhere.mp4" in gone.stderr


def test_two_teachers_answer_together_and_are_shown_alone(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    write_model(tmp_path / "random")
    settings["dataset"] = {"splits": {"train": 0.4, "valid": 0.3, "test": 0.3}}
    settings["label"] = {"min_confidence": 0.1}
    settings["teacher"] = ["pocket", {"model": f"local-dir:{tmp_path / 'random'}", "weight": 0.25}]
    counts = answer(settings, "label")["label"]
    assert counts["embedded"] == 120 and " + " in counts["teacher"]
    assert answer(settings, "train")["train"]["epochs"] == 1
    evaluation = answer(settings, "evaluate")
    first, second = evaluation["teachers"]
    assert (first["weight"], second["weight"]) == (pytest.approx(0.8), pytest.approx(0.2))
    assert first["accuracy"]["value"] > second["accuracy"]["value"]
    report = Path("run/report.html").read_text()
    assert "alone and together" in report and first["name"] in report
    # Another weight embeds nothing.
    settings["teacher"][1]["weight"] = 1.0
    assert answer(settings, "label")["label"]["embedded"] == 0


def test_descriptions_and_named_templates(settings: dict[str, Any]) -> None:
    settings |= {"describe": {"apple": ["a green apple", "two apples"]}, "templates": "photo"}
    table = answer(settings, "ontology")
    assert [row["class_name"] for row in table].count("apple") == 3
    wrong = clip2yolo(settings | {"templates": "photos"}, "label")
    assert wrong.exit_code == 2 and "`templates" in wrong.stderr
    wrong = clip2yolo(settings | {"describe": {"pear": ["a pear"]}}, "label")
    assert wrong.exit_code == 2 and "'pear'" in wrong.stderr
