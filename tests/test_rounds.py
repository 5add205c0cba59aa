"""The second round: what a first student has learned to see corrects what is believed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from pipeline import stages
from pipeline.config import SpaceConfig, StudentConfig, load_config, parse_config
from pipeline.errors import StudentError
from pipeline.labels.again import look_again, seen_again
from pipeline.records import BELIEFS, LABELS, read_table
from pipeline.run.stage import Run
from pipeline.run.workspace import Workspace
from pipeline.student import EpochReport, train
from pipeline.student.lessons import Lessons, lessons_of
from pipeline.student.rounds import last_round
from tests.fakes import Told
from tests.test_soft_labels import ORDER, beliefs_of, weights_of
from tests.tiny_student import CLASSES, make_dataset
from tests.tiny_student import config as quick


def settings(**changes: Any) -> Any:
    return quick(distill="soft", rounds=2, **changes)


class Onlooker:
    """Says what the words say, and finds each image, by a student, of the class in its path."""

    def __init__(self, beliefs: pl.DataFrame, words: pl.DataFrame | None = None) -> None:
        self.asked: list[Path] = []
        self._words = (beliefs if words is None else words).select("id", "probabilities")
        places = ["/".join(Path(path).parts[-2:]) for path in beliefs["path"]]
        sure = [[0.9 if name in place else 0.05 for name in ORDER] for place in places]
        self._found = pl.DataFrame(
            {"id": beliefs["id"], "probabilities": sure},
            schema={"id": pl.String, "probabilities": pl.List(pl.Float32)},
        )

    def by_space(self) -> None:
        return None

    def by_words(self) -> pl.DataFrame:
        return self._words

    def by_student(self, weights: Path, kept: Path) -> pl.DataFrame:
        assert weights.is_file()
        self.asked.append(weights)
        return self._found


def with_wrong_beliefs(beliefs: pl.DataFrame) -> pl.DataFrame:
    """The same, with two red images believed to be blue, and one that a person calls blue."""
    wrong = pl.col("file").is_in(["train/red/0.png", "train/red/1.png"])
    human = pl.col("file") == "train/red/2.png"
    return beliefs.with_columns(
        probabilities=pl.when(wrong).then(pl.lit([0.6, 0.0, 0.4]))
        .when(human).then(pl.lit([1.0, 0.0, 0.0])).otherwise("probabilities")
        .cast(pl.List(pl.Float32)),
        human=human.fill_null(False),
    )  # fmt: skip


def by_words(beliefs: pl.DataFrame) -> pl.DataFrame:
    """The same, as the words alone would have it: three red images are taken for green ones."""
    wrong = pl.col("file").is_in([f"train/red/{number}.png" for number in range(3)])
    return beliefs.with_columns(
        probabilities=pl.when(wrong).then(pl.lit([0.1, 0.7, 0.2])).otherwise("probabilities")
        .cast(pl.List(pl.Float32)),
    )  # fmt: skip


def test_a_first_student_learns_the_words_and_the_second_what_is_seen_by_it(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    beliefs = with_wrong_beliefs(beliefs_of(dataset, tmp_path / "undecided"))
    # Of one image nothing was found: it cannot be read any more.
    readable = beliefs.filter(pl.col("file").ne_missing("train/red/1.png"))
    onlooker = Onlooker(readable, by_words(beliefs))
    given, said = lessons_of(dataset, settings(), ORDER, None, beliefs), list[str]()
    learned: list[Lessons] = []

    def fit(lessons: Lessons, place: Path) -> list[EpochReport]:
        learned.append(lessons)
        (place / "weights.pt").touch()
        return []

    folder = tmp_path / "rounds"
    last = last_round(given, settings(), folder, fit, onlooker, said.append)
    assert last.start is not None and last.start.is_file() and last.place == folder
    (first,), found = learned, last.lessons
    assert given.targets is not None and first.targets is not None and found.targets is not None
    train_files = [Path(path) for path, _ in found.samples["train"]]
    rows = {path.name: row for row, path in enumerate(train_files) if path.parent.name == "red"}
    likeliest = [one.targets.argmax(axis=1) for one in (given, first, found)]  # type: ignore[union-attr]
    assert [[by[rows[f"{n}.png"]] for by in likeliest] for n in range(4)] == [
        [0, 1, 2],  # all differ, and what the student saw is learned in the end
        [0, 1, 0],  # unseen: as refined
        [0, 0, 0],  # a person has decided
        [2, 2, 2],
    ]
    assert found.targets[rows["1.png"]].tolist() == given.targets[rows["1.png"]].tolist()
    for lessons in (first, found):
        assert lessons.targets is not None
        assert lessons.targets[rows["2.png"]].tolist() == [1.0, 0.0, 0.0]
        assert lessons.targets.sum(axis=1) == pytest.approx(np.ones(len(found.ids)))
    said_so = f"2 of {len(found.ids)} images are believed to be others now than by the words"
    assert any(said_so in sentence for sentence in said)


class Stopped(Exception):
    """What ends a training here."""


def test_two_rounds_end_the_same_wherever_they_were_interrupted(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    beliefs = with_wrong_beliefs(beliefs_of(dataset, tmp_path / "undecided"))
    config, first = settings(epochs=2, train={"dropout": 0.2}), Onlooker(beliefs)
    train(dataset, tmp_path / "whole", config, CLASSES, beliefs=beliefs, onlooker=first)
    onlooker, seen = Onlooker(beliefs), list[int]()

    def stop(report: EpochReport) -> None:
        seen.append(report.epoch)
        if len(seen) in stops:
            raise Stopped

    def go() -> None:
        train(dataset, tmp_path / "again", config, CLASSES, beliefs=beliefs, on_epoch=stop,
              onlooker=onlooker)  # fmt: skip

    stops = {2, 4}  # in the first round, and in the second
    for _ in stops:
        with pytest.raises(Stopped):
            go()
    go()
    assert len(seen) == 2 * 2 + len(stops)  # an interruption costs one epoch
    assert len(onlooker.asked) == len(first.asked) == 1  # and no look at the images
    whole, again = weights_of(tmp_path / "whole"), weights_of(tmp_path / "again")
    assert [name for name in whole if not torch.equal(whole[name], again[name])] == []
    assert not list(tmp_path.glob(".again*"))
    once = quick(distill="soft", epochs=2, train={"dropout": 0.2})
    train(dataset, tmp_path / "once", once, CLASSES, beliefs=beliefs)
    assert any(not torch.equal(whole[name], one) for name, one in weights_of(
        tmp_path / "once").items())  # fmt: skip


def test_the_student_that_is_kept_goes_on_from_the_first_one(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    beliefs = with_wrong_beliefs(beliefs_of(dataset, tmp_path / "undecided"))
    both = quick(distill="soft", epochs=2)  # two rounds by themselves, where one can look again
    once = quick(distill="soft", epochs=2, rounds=1)
    onlooker = Onlooker(beliefs, by_words(beliefs))
    train(dataset, tmp_path / "both", both, CLASSES, beliefs=beliefs, onlooker=onlooker)
    assert len(onlooker.asked) == 1

    def by(found: pl.DataFrame) -> pl.DataFrame:
        probabilities = pl.when("human").then("probabilities").otherwise("found")
        found = found.rename({"probabilities": "found"})
        joined = beliefs.join(found, "id", maintain_order="left")
        return joined.with_columns(probabilities=probabilities).drop("found")

    words = by(onlooker.by_words())
    train(dataset, tmp_path / "first", once, CLASSES, beliefs=words, onlooker=onlooker)
    first = tmp_path / "first" / "weights.pt"
    assert len(onlooker.asked) == 1  # one round asks nothing
    seen = by(onlooker.by_student(first, tmp_path))
    second = once.model_copy(update={"model": str(first)})
    train(dataset, tmp_path / "second", second, CLASSES, beliefs=seen)
    whole, by_hand = weights_of(tmp_path / "both"), weights_of(tmp_path / "second")
    assert [name for name in whole if not torch.equal(whole[name], by_hand[name])] == []


class Confirming(Onlooker):
    """Finds, by a student, what is believed already."""

    def __init__(self, beliefs: pl.DataFrame, words: pl.DataFrame | None = None) -> None:
        super().__init__(beliefs, words)
        self._found = beliefs.select("id", "probabilities")


def test_where_nothing_is_believed_anew_the_first_student_stays(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    beliefs = beliefs_of(dataset, tmp_path / "undecided")
    onlooker, said, seen = Confirming(beliefs), list[str](), list[int]()

    def go(name: str, **changes: Any) -> Any:
        return train(
            dataset, tmp_path / name, quick(distill="soft", epochs=2, **changes), CLASSES,
            beliefs=beliefs, onlooker=onlooker, say=said.append,
            on_epoch=lambda report: seen.append(report.epoch),
        )  # fmt: skip

    kept, once, twice = go("kept"), go("once", rounds=1), go("twice", rounds=2)
    assert (len(seen), len(onlooker.asked)) == (2 + 2 + 4, 2)
    # Times stand in the file of the weights, so that its size varies.
    assert replace(kept, file_bytes=0) == replace(once, file_bytes=0) and twice.epochs == 2
    assert any("stays as it is" in sentence for sentence in said)
    first, single, second = (weights_of(tmp_path / name) for name in ("kept", "once", "twice"))
    assert [name for name in first if not torch.equal(first[name], single[name])] == []
    assert any(not torch.equal(first[name], one) for name, one in second.items())
    curves = [(tmp_path / name / "curve.csv").read_text().count("\n") for name in ("kept", "once")]
    assert curves[0] == curves[1] == 3
    assert not list(tmp_path.glob(".kept*"))


def test_sure_labels_that_are_more_than_the_words_are_learned_in_one_round(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    once, said = quick(distill="soft", epochs=1, rounds=1), list[str]()
    both = once.model_copy(update={"rounds": "auto"})
    sure = beliefs_of(dataset, tmp_path / "undecided", 0.98)
    sure = sure.filter(pl.col("kind") == "label")
    onlooker = Onlooker(sure, by_words(sure))

    def go(name: str, beliefs: pl.DataFrame, **changes: Any) -> dict[str, torch.Tensor]:
        train(dataset, tmp_path / name, both.model_copy(update=changes), CLASSES, beliefs=beliefs,
              onlooker=onlooker, say=said.append)  # fmt: skip
        return weights_of(tmp_path / name)

    auto, single = go("auto", sure), go("single", sure, rounds=1)
    assert [name for name in single if not torch.equal(auto[name], single[name])] == []
    assert onlooker.asked == [] and "there is one round" in said[-1]
    go("twice", sure, rounds=2)  # is what was asked for
    assert len(onlooker.asked) == 1
    # Words are as sure of themselves as they please: what they say is looked at again.
    onlooker = Onlooker(sure)
    go("words", sure)
    assert len(onlooker.asked) == 1


def test_folders_alone_have_no_second_round(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 4)
    with pytest.raises(StudentError, match=r"`student\.rounds: 2`.*`distill: hard`"):
        train(dataset, tmp_path / "s", quick(distill="hard", rounds=2), CLASSES)
    beliefs = beliefs_of(dataset, tmp_path / "undecided")
    with pytest.raises(StudentError, match=r"`student\.rounds: 2`.*no teacher.*`rounds: 1`"):
        train(dataset, tmp_path / "s", settings(), CLASSES, beliefs=beliefs)


def test_a_run_looks_at_its_images_again(colors: Path, tmp_path: Path) -> None:
    shutil.copytree(colors, tmp_path / "here")
    config = load_config(tmp_path / "here" / "run.yaml")
    assert (StudentConfig().distill, StudentConfig().rounds) == ("soft", "auto")
    quickly = {"imgsz": 32, "epochs": 2, "distill": "soft", "rounds": "auto"}
    before = config.student.model_copy(update=quickly)
    config, told = config.model_copy(update={"student": before}), Told()
    stages.train(config, told)
    assert any("looked at together once more" in sentence for sentence in told.said)
    assert stages.train(config).skipped
    assert not list(config.workspace.glob(".student*"))


def test_a_further_space_is_asked_about_every_image(colors: Path, tmp_path: Path) -> None:
    shutil.copytree(colors, tmp_path / "here")
    config = load_config(tmp_path / "here" / "run.yaml")
    student = config.student.model_copy(update={"imgsz": 32, "epochs": 1})
    config = config.model_copy(update={"student": student})
    stages.train(config)
    space = SpaceConfig(kind="student", model=str(Workspace(config.workspace).weights), size=32)
    run = Run.of(config)
    found = look_again(run, space, tmp_path / "seen", ["green", "blue"])
    labels = read_table(run.workspace.labels, LABELS, "label")
    assert sorted(found["id"]) == sorted(labels["id"])
    shares = np.array(found["probabilities"].to_list())
    assert shares.shape == (len(labels), 2) and shares.sum(axis=1) == pytest.approx(1)
    of_green = found.join(labels, "id").filter(pl.col("path").str.contains("green_"))
    assert (of_green["probabilities"].list.get(0) > 0.5).mean() > 0.8
    assert (tmp_path / "seen").is_dir()


def test_a_run_learns_what_its_space_sees(colors: Path, tmp_path: Path) -> None:
    shutil.copytree(colors, tmp_path / "here")
    config = load_config(tmp_path / "here" / "run.yaml")
    quickly = {"imgsz": 32, "epochs": 1, "distill": "soft", "rounds": 1}
    config = config.model_copy(update={"student": config.student.model_copy(update=quickly)})
    stages.train(config)
    assert seen_again(Run.of(config)) is None
    sight = tmp_path / "sight.pt"
    shutil.copyfile(Workspace(config.workspace).weights, sight)
    space = SpaceConfig(kind="student", model=str(sight), size=32)
    label = config.label.model_copy(update={"refine": "auto", "space": space})
    config = config.model_copy(update={"label": label})
    stages.label(config)
    found = seen_again(Run.of(config))
    assert found is not None
    labels = read_table(config.workspace / "labels.parquet", LABELS, "label")
    assert sorted(found[0]) == sorted(labels["id"])
    assert np.linalg.norm(found[1], axis=1) == pytest.approx(np.ones(len(labels)), abs=1e-3)
    assert not stages.train(config).skipped
    assert stages.train(config).skipped
    # Another sight is another student, whatever its labels.
    shutil.copyfile(Workspace(config.workspace).weights, sight)
    stages.label(config)
    assert not stages.train(config).skipped


@pytest.mark.slow
def test_beliefs_about_real_photos_become_better(shared: Path, tmp_path: Path) -> None:
    """As measured: 86.7 % of the labels are right, and 89 % by what the first student sees, too."""
    data = shared / "data" / "everyday"
    things = ("chair", "dog", "elephant", "house", "motorcycle", "person", "pizza", "scorpion",
              "sunflower", "umbrella")  # fmt: skip
    config = parse_config(
        {
            "source": str(data / "pool"),
            "ontology": {f"a photo of a {name}": name for name in things},
            "teacher": {"model": f"local-dir:{shared / 'teachers' / 'natural-tiny'}"},
            "student": {
                "model": str(shared / "students" / "yolov8n-cls-features.pt"),
                "imgsz": 96, "epochs": 8,
            },
        },
        tmp_path / "run.yaml",
    )  # fmt: skip
    stages.label(config)
    stages.train(config)
    run = Run.of(config)
    space = SpaceConfig(kind="student", model=str(run.workspace.weights), size=96)
    beliefs = read_table(run.workspace.beliefs, BELIEFS, "label")
    known = sorted(read_table(run.workspace.dataset_table, {"class": pl.String}, "label")["class"]
                   .unique())  # fmt: skip
    found = look_again(run, space, tmp_path / "seen", known)
    truth = dict(pl.read_csv(data / "pool_truth.csv").select(
        pl.col("path").str.split("/").list.last(), "class").iter_rows())  # fmt: skip
    both = beliefs.select("id", "path", before="probabilities").join(found, "id")
    right = [truth[Path(path).name] for path in both["path"]]

    def accuracy(column: str) -> float:
        guesses = [known[int(np.argmax(shares))] for shares in both[column]]
        return float(np.mean([one == other for one, other in zip(guesses, right, strict=True)]))

    assert accuracy("probabilities") > accuracy("before") + 0.01
