"""A whole run, looked at closely: one camera stands in the dark, and some photos are old ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from pipeline import stages
from pipeline.cli import main
from pipeline.config import load_config
from pipeline.evaluation.analysis_wording import (
    look_alike_sentence,
    reliability_sentences,
    slice_sentences,
)
from pipeline.evaluation.metrics import calibration_error
from pipeline.evaluation.record import Evaluation, read_evaluation
from tests.fakes import photos, picture
from tests.tiny_student import LESSONS

COUNTS = {"red": 24, "blue": 24, "green": 24}
DARK = "camera <b>2"
OLD = 5  # photos of the run that were saved again as truth


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `run.yaml` and an evaluated run."""
    here = tmp_path_factory.mktemp("closer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP2YOLO_CACHE", str(here / "cache"))
        paths = photos(here / "photos", COUNTS)
        for name in COUNTS:
            for camera in ("camera 1", DARK):
                (here / "truth" / name / camera).mkdir(parents=True)
            for number in range(300, 312):
                image = picture(name, number)
                image.save(here / "truth" / name / "camera 1" / f"{number}.png")
                # Grey noise, hardly any of the picture: nobody can tell its color.
                noise = np.random.default_rng(number).normal(14, 6, (32, 40, 1))
                dark = np.asarray(picture(name, number + 50), np.float32) * 0.02 + noise
                place = here / "truth" / name / DARK / f"{number}.png"
                Image.fromarray(dark.clip(0, 255).astype(np.uint8)).save(place)
        for path in paths[:OLD]:  # of the first class, all red
            Image.open(path).save(here / "truth" / "red" / "camera 1" / f"{path.stem}.bmp")
        settings: dict[str, Any] = {
            "source": "photos", "workspace": "run", "truth": "truth",
            "teacher": {"model": "pocket", "device": "cpu"},
            "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green"},
            "label": {"min_confidence": 0.0}, "dataset": {"near_duplicate": None},
            "student": {
                "model": "yolov8n-cls.yaml", "imgsz": 64, "epochs": 12, "batch": 16, "workers": 0,
                "distill": "hard", "rounds": 1,
                "train": LESSONS,
            },
            "evaluate": {
                "latency_images": 8, "cold_starts": False, "suspects": 0, "look_alikes": "keep",
            },
        }  # fmt: skip
        (here / "run.yaml").write_text(yaml.safe_dump(settings))
        config = load_config(here / "run.yaml")
        stages.label(config), stages.train(config), stages.evaluate(config)
        yield here


def evaluated(here: Path) -> tuple[Evaluation, dict[str, Any]]:
    file = here / "run" / "evaluation.json"
    return read_evaluation(file), json.loads(file.read_text())


def test_the_dark_camera_is_named(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, known = evaluated(finished)
    by_name = {one["name"]: one for one in known["slices"]}
    assert {"by", "name", "n", "accuracy", "rest", "p", "p_corrected", "significant"} <= set(
        by_name[DARK]
    )
    assert by_name[DARK]["significant"] and by_name[DARK]["by"] == "source"
    assert by_name[DARK]["n"] == 36
    assert by_name[DARK]["accuracy"]["value"] < 0.6 < 0.9 < by_name[DARK]["rest"]["value"]
    assert DARK in by_name[DARK]["examples"][0]
    assert any(one["significant"] for name, one in by_name.items() if name.startswith("dark"))
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(finished / "cache"))
    done = CliRunner().invoke(main, ["evaluate", "--config", str(finished / "run.yaml")])
    assert done.exit_code == 0, done.stderr
    told = " ".join(done.stdout.split())
    for sentence in slice_sentences(found):
        assert " ".join(sentence.split()) in told
    assert f"On 36 images from '{DARK}' the student is right on" in told
    # In a report that is HTML, and in a summary that is Markdown, it is text all the same.
    assert "<b>2" not in (finished / "run" / "report.md").read_text()


def test_old_photos_are_counted_and_shown_with_what_they_look_like(finished: Path) -> None:
    found, known = evaluated(finished)
    alike = known["look_alikes"]
    learned = {Path(pair["train"]).stem: Path(pair["test"]).stem for pair in alike["pairs"]}
    # Those that were dealt to the test split taught nothing.
    assert learned and all(train == test for train, test in learned.items())
    assert alike["count"] == len(learned) <= OLD and alike["left_out"] == 0
    assert (
        alike["compared"] == known["held_out"]["images"] == alike["on_others"]["n"] + len(learned)
    )
    assert "are evaluated on all the same" in look_alike_sentence(found)
    assert [pair["similarity"] > 0.999 for pair in alike["pairs"]] == [True] * len(learned)


def test_diagrams_and_calibration_errors_are_of_the_same_bins(finished: Path) -> None:
    found, known = evaluated(finished)
    images = known["held_out"]["images"]
    assert set(known["reliability"]) == {"teacher", "labels", "student"}
    for side in ("teacher", "student"):
        bins = known["reliability"][side]
        assert sum(one["n"] for one in bins) == images
        assert (bins[0]["low"], bins[-1]["high"]) == (0.0, 1.0)
        gap = sum(
            one["n"] * abs(one["accuracy"] - one["confidence"]) for one in bins if one["n"]
        )  # fmt: skip
        assert gap / images == pytest.approx(known[side]["calibration_error"], abs=1e-9)
        right = sum(one["n"] * one["accuracy"] for one in bins if one["n"])
        assert right / images == pytest.approx(known[side]["accuracy"]["value"])
    assert known["reliability"]["labels"] == []  # nobody labeled what was labeled
    teacher, student = reliability_sentences(found)
    assert teacher.startswith("The teacher is") and student.startswith("The student is")
    assert calibration_error([], []) is None


def test_mistakes_have_a_map(finished: Path) -> None:
    found, known = evaluated(finished)
    mistakes = [case for case in known["disagreements"] if case["student"] != case["truth"]]
    assert mistakes and [one["id"] for one in known["activations"]] == [
        case["id"] for case in mistakes
    ]
    for one, case in zip(found.activations, mistakes, strict=True):
        grid = np.array(one.grid)
        assert grid.shape == (2, 2) and grid.min() == 0 and grid.max() == 1
        assert one.class_name == case["student"] and one.box == (0.0, 0.0, 1.0, 1.0)


def test_what_is_written_is_what_is_read(finished: Path) -> None:
    found, known = evaluated(finished)
    assert found.as_json() == known


def test_an_evaluation_of_before_says_nothing_of_it(finished: Path) -> None:
    _, known = evaluated(finished)
    for name in ("reliability", "slices", "look_alikes", "activations"):
        del known[name]
    before = Evaluation.from_json(known)
    assert before.reliability is None and before.look_alikes is None
    assert not before.slices and not before.activations
    assert slice_sentences(before) == reliability_sentences(before) == []
    assert look_alike_sentence(before) == ""
