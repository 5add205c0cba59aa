"""Soft labels, hard ones and balance: what a student is told of each image."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from pipeline import stages
from pipeline.config import Config, parse_config
from pipeline.errors import StudentError
from pipeline.evaluation.sample import choose_sample
from pipeline.records import BELIEFS, DATASET, read_table
from pipeline.run.stage import Run
from pipeline.run.workspace import Workspace
from pipeline.student import EpochReport, Student, train
from pipeline.student.data import EpochOrder, FolderImages
from pipeline.student.lessons import (
    balance_sentence,
    balanced,
    hard_lessons,
    lessons_of,
    skew_warning,
)
from pipeline.student.settings import training_digest
from tests.fakes import Told, photos, picture
from tests.tiny_student import CLASSES, make_dataset
from tests.tiny_student import config as quick

ORDER = sorted(CLASSES)  # of the answers: blue, green, red


def beliefs_of(dataset: Path, undecided: Path, sure: float = 0.8) -> pl.DataFrame:
    """What is believed of the train split of a dataset, and of three images beside it."""
    rows: list[list[Any]] = []
    for path in sorted((dataset / "train").glob("*/*.png")):
        name = path.parent.name
        shares = [sure if one == name else (1 - sure) / 2 for one in ORDER]
        rows.append([f"{name} {path.name}", str(path), path.relative_to(dataset).as_posix()])
        rows[-1] += [name, "label"]
        rows[-1] += [False, shares, 1.0]
    undecided.mkdir(exist_ok=True)
    for name in ORDER:
        path = undecided / f"{name}.png"
        picture(name, 4000).save(path)
        shares = [0.5 if one == name else 0.25 for one in ORDER]
        rows.append([name, str(path), None, None, "belief", False, shares, 1.0])
    rows.append(["o", str(undecided / "gone.png"), None, None, "outside", False, [1 / 3] * 3, 1.0])
    return pl.DataFrame(rows, BELIEFS, orient="row")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "dataset", 4)


def test_undecided_images_are_learned_and_those_outside_are_not(
    dataset: Path, tmp_path: Path
) -> None:
    beliefs = beliefs_of(dataset, tmp_path / "undecided").sample(fraction=1, shuffle=True, seed=1)
    soft = lessons_of(dataset, quick(distill="soft"), ORDER, None, beliefs)
    hard = lessons_of(dataset, quick(distill="hard"), ORDER, None, beliefs)
    assert hard.targets is None and len(hard.samples["train"]) == 12
    assert soft.targets is not None and soft.undecided == 3
    assert soft.samples["valid"] == hard.samples["valid"]
    assert soft.samples["train"][:12] == hard.samples["train"]
    assert soft.targets.shape == (15, 3) and soft.targets.dtype == np.float32
    # Each image has the target that is its own, whatever the order of the table.
    likeliest = soft.targets.argmax(axis=1).tolist()
    assert likeliest == [index for _, index in soft.samples["train"]]
    for (path, index), target in zip(soft.samples["train"], soft.targets, strict=True):
        # Probabilities of 0.5, 0.25, 0.25 and 0.8, 0.1, 0.1, their squares scaled to sum to 1.
        wanted = 4 / 6 if Path(path).parent.name == "undecided" else 64 / 66
        assert target[index] == pytest.approx(wanted)
    assert soft.targets.sum(axis=1) == pytest.approx(np.ones(15))


def test_weights_count_beside_one_another(dataset: Path, tmp_path: Path) -> None:
    beliefs = beliefs_of(dataset, tmp_path / "undecided")
    weight = pl.when(pl.col("kind") == "belief").then(0.5).otherwise(1.0)
    beliefs = beliefs.with_columns(weight=weight.cast(pl.Float32))
    found = lessons_of(dataset, quick(distill="soft"), ORDER, None, beliefs).targets
    assert found is not None
    sums = found.sum(axis=1)
    assert sums.mean() == pytest.approx(1) and sums[0] == pytest.approx(2 * sums[-1])


def test_beliefs_of_something_else_are_refused(dataset: Path, tmp_path: Path) -> None:
    beliefs, soft = beliefs_of(dataset, tmp_path / "undecided"), quick(distill="soft")
    (dataset / "train" / "red" / "0.png").rename(dataset / "train" / "green" / "moved.png")
    with pytest.raises(StudentError, match=r"not of the dataset.*Run `clip2yolo label` again"):
        train(dataset, tmp_path / "s", soft, CLASSES, beliefs=beliefs)
    with pytest.raises(StudentError, match=r"`student\.distill: soft` needs what is believed"):
        train(dataset, tmp_path / "s", soft, CLASSES)


def test_an_undecided_image_that_vanished_is_named(dataset: Path, tmp_path: Path) -> None:
    beliefs = beliefs_of(dataset, tmp_path / "undecided")
    (tmp_path / "undecided" / "red.png").unlink()
    with pytest.raises(StudentError, match=r"red\.png cannot be learned from.*distill: hard"):
        train(dataset, tmp_path / "s", quick(distill="soft"), CLASSES, beliefs=beliefs)
    assert not (tmp_path / "s").exists()


def test_what_is_believed_names_a_training_and_where_it_lies_does_not(
    dataset: Path, tmp_path: Path
) -> None:
    beliefs = beliefs_of(dataset, tmp_path / "undecided")
    other = beliefs_of(dataset, tmp_path / "undecided", 0.81)
    moved = beliefs.with_columns(path=pl.concat_str(pl.lit("/else"), "path"))
    tables = (beliefs, other, moved, beliefs.filter(pl.col("kind") != "belief"))
    soft = [training_digest("x", quick(distill="soft"), ORDER, one) for one in tables]
    assert soft[0] == soft[2] and len({soft[0], soft[1], soft[3]}) == 3
    hard = {training_digest("x", quick(distill="hard"), ORDER, one) for one in (None, *tables)}
    assert len(hard) == 1


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(folder / "weights.pt", weights_only=False)["model"].state_dict())


class Stopped(Exception):
    """What ends a training here."""


@pytest.mark.parametrize("balance", ["none", "sample", "loss"])
def test_soft_trainings_end_the_same_wherever_they_were_interrupted(
    dataset: Path, tmp_path: Path, balance: str
) -> None:
    beliefs = beliefs_of(dataset, tmp_path / "undecided")
    (dataset / "train" / "red" / "0.png").unlink()
    beliefs = beliefs.filter(pl.col("file").fill_null("") != "train/red/0.png")
    settings = quick(distill="soft", balance=balance, epochs=3, train={"dropout": 0.2})
    result = train(dataset, tmp_path / "whole", settings, CLASSES, beliefs=beliefs)
    assert (result.images, result.undecided) == (14, 3)

    seen: list[int] = []
    for last in (2, 3):

        def stop(report: EpochReport, last: int = last) -> None:
            seen.append(report.epoch)
            if report.epoch == last:
                raise Stopped

        with pytest.raises(Stopped):
            train(dataset, tmp_path / "again", settings, CLASSES, beliefs=beliefs, on_epoch=stop)
    assert seen == [1, 2, 2, 3]
    train(dataset, tmp_path / "again", settings, CLASSES, beliefs=beliefs)
    whole, again = weights_of(tmp_path / "whole"), weights_of(tmp_path / "again")
    assert [name for name in whole if not torch.equal(whole[name], again[name])] == []
    assert json.loads((tmp_path / "again" / "student.json").read_text())["undecided"] == 3


def test_unsure_labels_make_unsure_students(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "dataset", 30)
    lessons = {"lr0": 0.003, "erasing": 0.0, "auto_augment": "", "hsv_h": 0.0}
    sure = {}
    for share in (0.5, 1.0):
        beliefs = beliefs_of(dataset, tmp_path / "undecided", share)
        settings = quick(distill="soft", epochs=10, train=lessons)
        train(dataset, tmp_path / "s", settings, CLASSES, beliefs=beliefs)
        student = Student.load(tmp_path / "s", "cpu")
        shown = [student.prepare(picture(name, 77 + i)) for name in CLASSES for i in range(5)]
        sure[share] = float(student.predict(shown).max(axis=1).mean())
    assert sure[0.5] < 0.8 < sure[1.0]


def skewed(folder: Path) -> Path:
    """A dataset with 24 images of green in train, 6 of red and 2 of blue."""
    make_dataset(folder, 24)
    for name, count in (("red", 6), ("blue", 2)):
        for path in sorted((folder / "train" / name).glob("*.png"))[count:]:
            path.unlink()
    return folder


def test_rare_classes_are_drawn_as_often_as_others(tmp_path: Path) -> None:
    lessons = hard_lessons(skewed(tmp_path / "d"), ORDER)
    found = balanced(lessons, 3, "sample")
    assert found.targets is None and found.draws is not None
    assert found.draws.sum() == pytest.approx(32)
    order = EpochOrder(32, 5, 0, found.draws)
    numbers = [list(order) for _ in range(60)]
    assert all(len(set(epoch)) == len(epoch) == 32 for epoch in numbers)  # nothing twice alike
    classes = [index for _, index in lessons.samples["train"]]
    drawn = Counter(classes[number % 32] for epoch in numbers for number in epoch)
    assert all(drawn[index] == pytest.approx(640, rel=0.1) for index in range(3))
    assert list(EpochOrder(32, 5, 7, found.draws)) == numbers[7]
    assert list(EpochOrder(32, 6, 7, found.draws)) != numbers[7]
    # Within an epoch an image's share is kept to, by chance only as far as it is no whole number.
    often = Counter(number % 32 for number in numbers[0])
    assert all(abs(often[row] - found.draws[row]) < 1 for row in range(32))


def test_an_image_drawn_twice_is_shown_in_two_ways(tmp_path: Path) -> None:
    from torchvision.transforms import Compose, RandomResizedCrop, ToTensor

    path = tmp_path / "x.png"
    picture("red", 1, (64, 64)).save(path)
    images = FolderImages([(path, 0)], Compose([RandomResizedCrop(32), ToTensor()]), 10**6, 0)
    numbers = list(EpochOrder(1, 0, 0, np.array([2.0]))) + list(EpochOrder(1, 0, 1))
    assert numbers == [0, 1]
    rows = np.array([2.0, 0.0])
    twice = list(EpochOrder(2, 0, 0, rows))
    assert [number % 2 for number in twice] == [0, 0] and len(set(twice)) == 2
    both = FolderImages([(path, 0)] * 2, images.torch_transforms, 10**6, 0)
    first, second = (both[number]["img"] for number in twice)
    assert not torch.equal(first, second)


def test_the_loss_counts_each_class_alike(tmp_path: Path) -> None:
    lessons = balanced(hard_lessons(skewed(tmp_path / "d"), ORDER), 3, "loss")
    assert lessons.targets is not None and lessons.draws is None
    assert lessons.targets.sum(axis=0) == pytest.approx([32 / 3] * 3)
    assert (np.count_nonzero(lessons.targets, axis=1) == 1).all()


def test_a_skewed_dataset_is_told_with_the_setting(tmp_path: Path) -> None:
    lessons = hard_lessons(skewed(tmp_path / "d"), ORDER)
    said = skew_warning(lessons, ORDER)
    assert "12 times as many images of green (24) as of blue (2)" in said
    assert "`student: {balance: sample}`" in said and "`balance: loss`" in said
    assert skew_warning(hard_lessons(make_dataset(tmp_path / "even"), ORDER), ORDER) == ""
    said = balance_sentence(lessons, ORDER, "sample")
    assert "of blue (2) is shown 5.3 times as much as before, one of green (24) 0.44" in said


def config(root: Path, **changes: Any) -> Config:
    known: dict[str, Any] = {
        "source": "shots",
        "truth": "shots",
        "ontology": {"an apple": "red", "a banana": "yellow", "an orange": "blue"},
        "label": {"min_confidence": 0.7, "refine": "none"},
        "dataset": {"near_duplicate": None},
        "student": {
            "imgsz": 32,
            "epochs": 1,
            "batch": 8,
            "device": "cpu",
            "workers": 0,
            "distill": "soft",
        },
    }
    student = known["student"] | changes.pop("student", {})
    return parse_config(known | changes | {"student": student}, root / "run.yaml")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    shots = photos(tmp_path / "all", {"red": 14, "yellow": 14, "blue": 4})
    for path in shots:
        folder = tmp_path / "shots" / path.name.split("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(path, folder / path.name)
    return tmp_path


def test_a_run_learns_all_images_and_is_judged_on_none_of_them(run: Path) -> None:
    soft, hard = config(run), config(run, student={"distill": "hard"})
    stages.label(soft)
    space, told = Workspace(soft.workspace), Told()
    first = stages.train(soft, told)
    beliefs = read_table(space.beliefs, BELIEFS, "label")
    undecided = beliefs.filter(pl.col("kind") == "belief")
    assert first.counts.undecided == len(undecided) > 0
    assert any("also learns what is believed of" in sentence for sentence in told.said)
    assert stages.train(soft).skipped
    kept = space.beliefs.read_bytes()
    space.beliefs.write_bytes(b"no table")
    assert stages.status(soft)[2].state == "out of date"
    space.beliefs.write_bytes(kept)

    plan = read_table(space.dataset_table, DATASET, "label")
    judged = choose_sample(Run.of(soft, Told()), plan)
    assert not set(judged.ids) & set(undecided["id"])
    assert stages.status(hard)[2].state == "out of date"

    second = stages.train(hard).counts
    assert (second.undecided, second.images) == (0, first.counts.images - len(undecided))
    judged = choose_sample(Run.of(hard, Told()), plan)
    assert set(undecided["id"]) <= set(judged.ids)


def test_another_belief_makes_a_soft_student_out_of_date_and_no_hard_one(run: Path) -> None:
    soft, hard = config(run), config(run, student={"distill": "hard"})
    space = Workspace(soft.workspace)
    stages.label(soft)
    for settings, state in ((hard, "done"), (soft, "out of date")):
        stages.train(settings)
        table = read_table(space.beliefs, BELIEFS, "label")
        shares = pl.col("probabilities").list.reverse()
        table.with_columns(probabilities=shares).write_parquet(space.beliefs)
        assert stages.status(settings)[2].state == state
