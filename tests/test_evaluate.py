"""Teacher and student on the same pictures: what is claimed, and what is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from pipeline.errors import Clip2YoloError, SourceError
from pipeline.evaluation.assess import HeldOut, Measured, assess
from pipeline.evaluation.label_figures import label_figures
from pipeline.evaluation.measure import measure_latency, predict_files
from pipeline.evaluation.wording import conclusion, summary_rows
from pipeline.labels.decide import label_table
from pipeline.machine import cores
from pipeline.records import Prediction
from tests.evaluations import COUNTS, LABELS, compare
from tests.fakes import NAMES, ColorPredictor, photos, verdicts_of


def test_everything_promised_is_there_and_is_json(tmp_path: Path) -> None:
    evaluation = compare(tmp_path).as_json()
    assert json.loads(json.dumps(evaluation, allow_nan=False)) == evaluation
    assert evaluation["classes"] == list(NAMES)
    for side in ("teacher", "student", "chance"):
        assert set(evaluation[side]["accuracy"]) == {"value", "low", "high", "n"}
    for side in ("teacher", "student"):
        assert {"median", "p90", "p99"} <= set(evaluation[side]["latency_ms"]["end_to_end"])
        assert {"median", "p90", "p99"} <= set(evaluation[side]["latency_ms"]["model_only"])
        assert evaluation[side]["throughput"] > 0 and evaluation[side]["parameters"] == 15
    assert set(evaluation["student"]["agreement"]) == {"value", "low", "high", "n"}
    assert {"accepted", "abstained", "accuracy"} <= set(evaluation["labels"])


def test_figures_are_those_of_the_answers(tmp_path: Path) -> None:
    evaluation = compare(tmp_path).as_json()
    teacher, student = evaluation["teacher"], evaluation["student"]
    assert student["accuracy"]["value"] == 1.0
    wrong = sum(sum(row) - row[i] for i, row in enumerate(teacher["confusion"]))
    assert wrong > 0 and teacher["accuracy"]["value"] == pytest.approx(1 - wrong / 24)
    assert student["agreement"]["value"] == pytest.approx(1 - wrong / 24)
    assert evaluation["comparison"]["only_student_right"] == wrong
    assert evaluation["comparison"]["only_teacher_right"] == 0
    # Chance names the commonest class of the training labels, red, for every picture.
    assert evaluation["chance"]["accuracy"]["value"] == pytest.approx(6 / 24)


def test_surest_mistakes_come_first(tmp_path: Path) -> None:
    cases = compare(tmp_path, disagreements=3).as_json()["disagreements"]
    assert len(cases) == 3
    sure = [case["teacher_confidence"] for case in cases]
    assert sure == sorted(sure, reverse=True)
    assert all(case["teacher"] == "red" != case["truth"] == case["student"] for case in cases)


def test_without_truth_nothing_is_called_accuracy(tmp_path: Path) -> None:
    found = compare(tmp_path, truth=False)
    evaluation = found.as_json()
    for side in ("teacher", "student", "chance"):
        assert evaluation[side]["accuracy"] is None
    assert 0 < evaluation["student"]["agreement"]["value"] < 1
    words = conclusion(found) + json.dumps(summary_rows(found))
    assert "agree" in words and "accuracy" not in words and "is right on" not in words


def test_conclusion_claims_no_winner_without_proof(tmp_path: Path) -> None:
    assert "do not show which" in conclusion(compare(tmp_path / "same", bias=0.0))
    assert "The student is the better" in conclusion(compare(tmp_path / "far", bias=30.0))


def test_answers_in_other_classes_are_refused(tmp_path: Path) -> None:
    paths = photos(tmp_path, {"red": 1})
    side = ColorPredictor()
    (latency,) = measure_latency([side], [paths[0].read_bytes()])
    good = Measured(side, predict_files(side, paths), latency)
    odd = Measured(side, Prediction(("a",), np.ones((1, 1), np.float32)), latency)
    with pytest.raises(ValueError, match="answers in"):
        assess(NAMES, HeldOut(["x"], paths, None, "here"), {"a": good, "b": odd}, {}, LABELS)


def test_order_does_not_depend_on_batches(tmp_path: Path) -> None:
    paths = photos(tmp_path, COUNTS)
    one, many = (predict_files(ColorPredictor(), paths, batch=size) for size in (1, 5))
    assert np.allclose(one.probabilities, many.probabilities, atol=1e-6)
    assert [NAMES[i] for i in many.probabilities.argmax(axis=1)] == [
        path.name.split("_")[0] for path in paths
    ]


def test_image_that_vanished_is_named(tmp_path: Path) -> None:
    paths = photos(tmp_path, {"red": 3})
    paths[1].unlink()
    with pytest.raises(SourceError, match="red_001"):
        predict_files(ColorPredictor(), paths)


def test_damaged_weights_are_noticed(tmp_path: Path) -> None:
    paths = photos(tmp_path, {"red": 3})
    with pytest.raises(Clip2YoloError, match="not finite"):
        predict_files(ColorPredictor(bias=float("nan")), paths)


class NotingPredictor(ColorPredictor):
    """Writes its name down whenever it is asked, and for how many images."""

    def __init__(self, name: str, asked: list[tuple[str, int]]) -> None:
        super().__init__(name)
        self.asked = asked

    def predict(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        self.asked.append((self.name, len(batch)))
        return super().predict(batch)


def test_latency_counts_every_image_and_tells_how_far_it_is(tmp_path: Path) -> None:
    encoded = [path.read_bytes() for path in photos(tmp_path, {"red": 5, "blue": 5})]
    told: list[tuple[int, int]] = []
    asked: list[tuple[str, int]] = []
    sides = [NotingPredictor("a", asked), NotingPredictor("b", asked)]
    found = measure_latency(sides, encoded, progress=lambda done, total: told.append((done, total)))
    assert len(found) == 2 and all(one.images == 10 for one in found)
    for one in found:
        assert 0 < one.model_only.median <= one.end_to_end.median <= one.end_to_end.p99
    assert told == [(step, 13) for step in range(1, 14)]  # ten images, three rounds
    # Three to warm up, then each image once, after the one before it.
    alone = asked[: 2 * (3 + 2 * 10)]
    assert alone == [("a", 1), ("b", 1)] * 3 + [("a", 1), ("a", 1), ("b", 1), ("b", 1)] * 10
    with pytest.raises(ValueError, match="at least one image"):
        measure_latency(sides, [])


class CountingPredictor(ColorPredictor):
    """Notes on how many threads torch would compute for it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.threads: set[int] = set()

    def predict(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        self.threads.add(torch.get_num_threads())
        return super().predict(batch)


@pytest.mark.parametrize("left", [1, 5])  # ultralytics leaves one after a training
def test_latency_is_measured_on_as_many_threads_whatever_was_before(
    tmp_path: Path, left: int
) -> None:
    encoded = [path.read_bytes() for path in photos(tmp_path, {"red": 2})]
    before = torch.get_num_threads()
    torch.set_num_threads(left)
    try:
        sides = [CountingPredictor("a"), CountingPredictor("b")]
        found = measure_latency(sides, encoded)
        assert torch.get_num_threads() == left
        with pytest.raises(SourceError):
            measure_latency(sides, [b"no picture"])
        assert torch.get_num_threads() == left
    finally:
        torch.set_num_threads(before)
    assert [side.threads for side in sides] == [{cores()}] * 2
    assert {one.threads for one in found} == {cores()}


def labels_of(confidences: list[float]) -> pl.DataFrame:
    probabilities = np.array([[share, 1 - share] for share in confidences], np.float32)
    ids = [f"{number}" for number in range(len(confidences))]
    return label_table(ids, ids, verdicts_of(probabilities, ("cat", "dog"), min_confidence=0.7))


def test_labels_are_judged_by_truth_where_there_is_some() -> None:
    labels = labels_of([0.91, 0.8, 0.6, 0.1])  # cat, cat, abstained, dog
    figures = label_figures(labels, {"0": "cat", "1": "dog", "2": "dog"})
    assert (figures.accepted, figures.abstained) == (3, 1)
    assert figures.accuracy is not None
    assert figures.accuracy.value == 0.5 and figures.accuracy.n == 2
    everything = figures.thresholds[0]
    assert everything.kept == 1.0 and everything.accuracy is not None
    assert everything.accuracy.value == pytest.approx(1 / 3)
    surest = figures.thresholds[-2]
    assert surest.min_confidence == 0.9 and surest.accuracy is not None
    assert surest.accuracy.value == 1.0


@pytest.mark.parametrize("limit", [0.5, 0.7, 0.9, 0.95])
def test_a_threshold_keeps_what_labeling_would_accept(limit: float) -> None:
    shares = np.array([[limit, 1 - limit]], np.float32)
    verdicts = verdicts_of(shares, ("cat", "dog"), min_confidence=limit)
    labels = label_table(["0"], ["0"], verdicts)
    steps = label_figures(labels, {"0": "cat"}).thresholds
    (kept,) = (step.kept for step in steps if step.min_confidence == limit)
    assert kept == float(labels["decision"][0] == "accepted")


def test_labels_without_truth_have_no_accuracy() -> None:
    figures = label_figures(labels_of([0.9, 0.2]), {})
    assert figures.accuracy is None and figures.thresholds == []
