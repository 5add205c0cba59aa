"""The second round: students that have not seen an image correct what is believed of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from pipeline.errors import StudentError
from pipeline.student import EpochReport, train
from pipeline.student.lessons import Lessons
from pipeline.student.rounds import FOLDS, folds, second_round
from pipeline.student.train import fit_in, lessons_of
from tests.test_soft_labels import ORDER, beliefs_of, weights_of
from tests.tiny_student import CLASSES, make_dataset
from tests.tiny_student import config as quick

# Enough to tell three colors apart.
LESSONS = {"lr0": 0.003, "erasing": 0.0, "auto_augment": "", "hsv_h": 0.0}


def settings(**changes: Any) -> Any:
    return quick(distill="soft", rounds=2, **changes)


def lessons(groups: str, classes: str) -> Lessons:
    samples = [(Path(f"{number}.png"), int(index)) for number, index in enumerate(classes)]
    return Lessons({"train": samples}, groups=tuple(groups))


def test_folds_keep_look_alikes_together_and_deal_each_class_alike() -> None:
    found = folds(lessons("aabcdeffghij", "000000111111"))
    assert found[0] == found[1] and found[6] == found[7]
    for rows in (found[1:6], found[7:12]):
        assert sorted(np.bincount(rows, minlength=FOLDS).tolist()) == [1, 2, 2]
    # The order of the images is none of its business.
    other = folds(lessons("jihgffedcbaa", "111111000000"))
    assert other[::-1].tolist() == found.tolist()


def with_wrong_labels(dataset: Path, beliefs: pl.DataFrame) -> pl.DataFrame:
    """The same, with two red images believed to be blue, and one that a person calls blue."""
    wrong = pl.col("file").is_in(["train/red/0.png", "train/red/1.png"])
    human = pl.col("file") == "train/red/2.png"
    return beliefs.with_columns(
        probabilities=pl.when(wrong).then(pl.lit([0.6, 0.0, 0.4]))
        .when(human).then(pl.lit([1.0, 0.0, 0.0])).otherwise("probabilities")
        .cast(pl.List(pl.Float32)),
        human=human.fill_null(False),
    )  # fmt: skip


def test_wrong_beliefs_are_corrected_and_a_persons_are_not(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 30)
    beliefs = with_wrong_labels(dataset, beliefs_of(dataset, tmp_path / "undecided"))
    config = settings(epochs=10, train=LESSONS)
    found: list[Lessons] = []
    given = lessons_of(dataset, config, ORDER, None, beliefs)
    assert given.believed is not None
    corrected = second_round(
        given, tmp_path / "rounds",
        lambda part, place: found.append(part) or fit_in(  # type: ignore[func-returns-value]
            place, config, part, ORDER, 10**6, lambda report: None),
        config, 10**6, lambda sentence: None,
    )  # fmt: skip
    assert corrected.targets is not None
    row_of = {str(path): row for row, (path, _) in enumerate(given.samples["train"])}
    for number in (0, 1):
        row = row_of[str(dataset / "train" / "red" / f"{number}.png")]
        assert given.believed[row].argmax() == 0 and corrected.targets[row].argmax() == 2
    row = row_of[str(dataset / "train" / "red" / "2.png")]
    assert corrected.targets[row].tolist() == [1.0, 0.0, 0.0]
    assert corrected.targets.sum(axis=1) == pytest.approx(np.ones(len(row_of)))
    # No student was asked about what it had learned.
    assert sum(len(part.samples["train"]) for part in found) == 2 * len(row_of)


class Stopped(Exception):
    """What ends a training here."""


def test_two_rounds_end_the_same_wherever_they_were_interrupted(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    beliefs = beliefs_of(dataset, tmp_path / "undecided")
    said: list[str] = []
    config, epochs = settings(epochs=2, train={"dropout": 0.2}), 2 * (FOLDS + 1)
    train(dataset, tmp_path / "whole", config, CLASSES, beliefs=beliefs, say=said.append)
    assert len(said) == FOLDS + 1 and "student 2 of 3" in said[1] and "is kept" in said[3]
    seen: list[int] = []

    def stop(report: EpochReport) -> None:
        seen.append(report.epoch)
        if len(seen) in stops:
            raise Stopped

    stops = {2, 5, 10}  # after an epoch of the first fold, of the second, and of the kept student
    for _ in stops:
        with pytest.raises(Stopped):
            train(dataset, tmp_path / "again", config, CLASSES, beliefs=beliefs, on_epoch=stop)
    train(dataset, tmp_path / "again", config, CLASSES, beliefs=beliefs, on_epoch=stop)
    assert len(seen) == epochs + len(stops)  # an interruption costs one epoch
    whole, again = weights_of(tmp_path / "whole"), weights_of(tmp_path / "again")
    assert [name for name in whole if not torch.equal(whole[name], again[name])] == []
    assert not list(tmp_path.glob(".again*"))
    once = quick(distill="soft", epochs=2, train={"dropout": 0.2})
    train(dataset, tmp_path / "once", once, CLASSES, beliefs=beliefs)
    assert any(not torch.equal(whole[name], one) for name, one in weights_of(
        tmp_path / "once").items())  # fmt: skip


def test_hard_labels_have_no_second_round(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    with pytest.raises(StudentError, match=r"`student\.rounds: 2`.*`distill: hard`"):
        train(dataset, tmp_path / "s", quick(distill="hard", rounds=2), CLASSES)
