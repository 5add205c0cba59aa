"""A student that also learns what a better sight has seen of its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from pipeline.student import EpochReport, Student, train
from pipeline.student.lessons import SIGHT
from pipeline.student.sights import Deciding, LearningSight, write_sights
from tests.test_rounds import Onlooker, Stopped, with_wrong_beliefs
from tests.test_soft_labels import beliefs_of, weights_of
from tests.tiny_student import CLASSES, make_dataset
from tests.tiny_student import config as quick


class Seeing(Onlooker):
    """One that has vectors of the images, too: of all but the first."""

    def __init__(self, beliefs: pl.DataFrame) -> None:
        super().__init__(beliefs)
        self.times = 0
        self._ids = beliefs["id"].to_list()[1:]

    def by_space(self) -> tuple[list[str], np.ndarray]:
        self.times += 1
        vectors = np.random.default_rng(5).normal(size=(len(self._ids), 12)).astype(np.float32)
        return self._ids[::-1], vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_what_was_seen_is_kept_without_what_all_have_in_common(tmp_path: Path) -> None:
    seen = np.array([[1, 0, 1], [1, 1, 0], [1, 0, 0], [9, 9, 9]], np.float32)
    write_sights(tmp_path / "s.npy", ["b", "lost", "a", "c"], seen, ["a", "b", "c", "other"])
    kept = np.load(tmp_path / "s.npy")
    assert kept.dtype == np.float16
    away = seen[[1, 0, 2]] - seen[:3].mean(axis=0)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    assert kept[[0, 2, 3]] == pytest.approx(away, abs=1e-3)
    assert kept[1].tolist() == [0, 0, 0]  # nothing is known of it


def test_vectors_beside_the_answers_cost_what_they_are_off() -> None:
    given = nn.Linear(4, 2)
    layer = Deciding(given, 3)
    features = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    sights = np.zeros((5, 3), np.float16)
    sights[2] = layer.sight(features[:1]).detach().numpy()[0]
    sights[4] = -layer.sight(features[1:2]).detach().numpy()[0]

    def criterion(answers: torch.Tensor, batch: object) -> tuple[torch.Tensor, dict[str, object]]:
        return answers.sum() * 0 + 1, {"loss": 1}

    answers = layer(features)
    assert torch.equal(answers, given(features))
    batch = {"row": torch.tensor([2, 4, 0])}  # as it should be, the opposite, and unknown
    loss, named = LearningSight(criterion, layer, sights)(answers, batch)
    assert float(loss.detach()) == pytest.approx(1 + SIGHT * (0 + 2 + 0) / 3, rel=1e-2)
    assert named == {"loss": 1}
    layer.eval()
    assert torch.equal(layer(features), layer.alone()(features))
    assert list(layer.alone().state_dict()) == ["weight", "bias"]


def test_a_student_of_a_sight_ends_the_same_wherever_it_was_interrupted(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    beliefs = with_wrong_beliefs(beliefs_of(dataset, tmp_path / "undecided"))
    settings = quick(distill="soft", rounds=2, epochs=2, batch=8)
    for name, onlooker in (("blind", Onlooker(beliefs)), ("whole", Seeing(beliefs))):
        train(dataset, tmp_path / name, settings, CLASSES, beliefs=beliefs, onlooker=onlooker)
    seen: list[int] = []

    def stop(report: EpochReport) -> None:
        seen.append(report.epoch)
        if len(seen) in (1, 3):
            raise Stopped

    onlooker = Seeing(beliefs)
    for _ in range(2):
        with pytest.raises(Stopped):
            train(dataset, tmp_path / "again", settings, CLASSES, beliefs=beliefs, on_epoch=stop,
                  onlooker=onlooker)  # fmt: skip
    train(dataset, tmp_path / "again", settings, CLASSES, beliefs=beliefs, onlooker=onlooker)
    assert onlooker.times == 1  # what was seen is kept with the training
    whole, again, blind = (weights_of(tmp_path / one) for one in ("whole", "again", "blind"))
    # What gives vectors is no part of a student.
    assert list(whole) == list(blind)
    assert [name for name in whole if not torch.equal(whole[name], again[name])] == []
    assert [name for name in whole if not torch.equal(whole[name], blind[name])] != []
    assert Student.load(tmp_path / "whole", "cpu").classes == ("blue", "green", "red")
