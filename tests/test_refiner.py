"""Labels in the background: answers are fixed points, and what moved is counted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import stages
from pipeline.config import Config, parse_config
from pipeline.errors import Clip2YoloError
from pipeline.evaluation.audit.work import audit
from pipeline.labels.answers import Answer, read_answers
from pipeline.review.desk import Desk
from pipeline.review.opening import desk_of
from pipeline.review.refiner import Refiner
from pipeline.review.takeover import Labeling, Takeover
from pipeline.review.tiles import Given
from pipeline.run.stage import Run
from tests.fakes import photos

COLORS = {"red": 14, "blue": 12, "green": 9}


def config_of(folder: Path, **settings: Any) -> Config:
    known = {
        "source": str(folder / "photos"), "workspace": str(folder / "run"),
        "teacher": {"model": "pocket", "device": "cpu"},
        "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green"},
        "label": {"min_confidence": 0.0}, "dataset": {"near_duplicate": None},
    }  # fmt: skip
    return parse_config(known | settings, folder / "run.yaml")


def until(there: Any) -> None:
    end = time.monotonic() + 120
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_labels_follow_the_answers(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COLORS)
    config = config_of(tmp_path)
    stages.label(config)
    run = Run.of(config)
    desk = desk_of(run)
    refiner = Refiner(run, desk)
    with pytest.raises(Clip2YoloError, match="still being loaded"):
        refiner.in_words("a cup")
    refiner.start()
    until(lambda: not refiner.progress.busy)
    first = refiner.progress
    assert first.ready and first.trouble is None and first.answers == 0
    assert len(refiner.choice) == 20 and first.gain is not None and first.gain >= 0
    one, other = desk.album.ids[:2]
    before = desk.album.name_of(0)
    name = next(name for name in desk.album.classes if name != before)
    desk.take([Given(one, "class", name, None), Given(other, "none", None, None)], "me")
    refiner.nudge()
    assert refiner.progress.busy  # at once, so that nobody takes the old labels for the new
    until(lambda: not refiner.progress.busy)
    assert refiner.progress.answers == 2 and refiner.progress.moved >= 1
    assert desk.album.name_of(0) == name
    assert one not in refiner.choice and other not in refiner.choice
    # Another process answers; an audit measures and moves nothing.
    desk.log.add([Answer(desk.album.ids[2], "class", name, "audit")])
    desk.catch_up()
    assert desk.album.ids[2] not in desk.decisions(desk.album)
    vector = refiner.in_words("a red box")
    assert vector.shape == (desk.album.vectors_at([0]).shape[1],)
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5
    refiner.stop()


def test_what_cannot_be_refined_is_said_and_answers_go_on(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 4, "blue": 3})
    stages.label(config_of(tmp_path))
    run = Run.of(config_of(tmp_path, teacher={"kind": "open_clip", "model": "local-dir:no/such"}))
    desk = desk_of(run)
    refiner = Refiner(run, desk)
    refiner.start()
    until(lambda: not refiner.progress.busy)
    trouble = refiner.progress.trouble
    assert trouble is not None and "no/such" in trouble and refiner.choice == ()
    with pytest.raises(Clip2YoloError, match="no/such"):
        refiner.in_words("a cup")
    desk.take([Given(desk.album.ids[0], "skip", None, None)], "me")
    assert desk.album.closed.sum() == 1


def test_what_failed_is_tried_again_with_the_next_answer(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COLORS)
    stages.label(config_of(tmp_path))
    run = Run.of(config_of(tmp_path, examples={"red": [str(tmp_path / "shown")]}))
    desk = desk_of(run)
    refiner = Refiner(run, desk)
    refiner.start()
    until(lambda: not refiner.progress.busy)
    trouble = refiner.progress.trouble
    assert trouble is not None and "shown" in trouble
    assert trouble.endswith("It is tried again with the next answer.")
    photos(tmp_path / "shown", {"red": 1}, start=50)
    desk.take([Given(desk.album.ids[0], "class", "red", None)], "me")
    refiner.nudge()
    until(lambda: refiner.progress.answers == 1)
    assert refiner.progress.trouble is None and refiner.progress.ready and refiner.choice
    refiner.stop()


def test_it_goes_on_with_labels_that_were_made_meanwhile(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COLORS)
    config = config_of(tmp_path)
    stages.label(config)
    labeling = Labeling.of(Run.of(config))
    desk = Desk(labeling.album, read_answers(labeling.run.workspace.said), labeling.elsewhere)
    refiner = Refiner(labeling.run, desk)
    takeover = Takeover(labeling, desk, refiner)
    refiner.start()
    until(lambda: not refiner.progress.busy)
    one = desk.album.ids[0]
    name = next(name for name in desk.album.classes if name != desk.album.name_of(0))
    desk.take([Given(one, "class", name, None)], "me")
    photos(tmp_path / "photos", {"green": 5}, start=30)
    stages.label(config)
    takeover.look()
    assert len(desk.album) == sum(COLORS.values()) + 5 and refiner.progress.busy
    until(lambda: refiner.progress.answers == 1 and not refiner.progress.busy)
    assert refiner.progress.trouble is None
    row = desk.album.row_of[one]
    assert desk.album.closed[row] and desk.album.name_of(row) == name
    assert set(refiner.choice) <= set(desk.album.ids) and one not in refiner.choice
    refiner.stop()


def test_labels_of_images_alone_follow_their_answers_alone(tmp_path: Path) -> None:
    photos(tmp_path / "photos", {"red": 4, "blue": 3})
    config = config_of(tmp_path, label={"refine": "none", "min_confidence": 0.0})
    stages.label(config)
    run = Run.of(config)
    desk = desk_of(run)
    desk.take([Given(desk.album.ids[0], "class", "green", None)], "me")
    refiner = Refiner(run, desk)
    refiner.start()
    until(lambda: not refiner.progress.busy)
    assert desk.album.name_of(0) == "green" and refiner.progress.moved == 1
    assert refiner.choice == () and refiner.progress.gain is None
    refiner.stop()


def test_how_right_labels_are_is_said_by_an_audit_alone(tmp_path: Path) -> None:
    photos(tmp_path / "photos", COLORS)
    config = config_of(tmp_path)
    stages.label(config)
    audit(config, 12)
    run = Run.of(config)
    desk = desk_of(run, audit=True)
    assert desk.audit is not None and len(desk.audit) == 12
    truth = {one: desk.album.path(one) for one in desk.audit}
    desk.take(
        [
            Given(one, "class", Path(path).name.split("_")[0], None)
            for one, path in truth.items()
            if path is not None
        ],
        "me",
    )
    teaching = desk_of(run)
    # Answers that teach are no measure, whatever they say.
    others = [one for one in teaching.album.ids if one not in truth][:5]
    teaching.take([Given(one, "class", "red", None) for one in others], "me")
    refiner = Refiner(run, teaching)
    refiner.start()
    until(lambda: not refiner.progress.busy)
    found = refiner.progress.accuracy
    assert refiner.progress.trouble is None and found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1 and found.n <= 12
    rows = [teaching.album.row_of[one] for one in truth]
    assert not set(truth) & set(teaching.decisions(teaching.album))
    right = [
        teaching.album.name_of(row) == Path(teaching.album.paths[row]).name.split("_")[0]
        for row in rows
    ]
    assert (found.value > 0.5) == (sum(right) > len(right) / 2)
    refiner.stop()
