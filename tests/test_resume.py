"""A training that was interrupted goes on only as what it was, and settings reach the trainer."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config import StudentConfig
from pipeline.errors import StudentError
from pipeline.student import EpochReport, Student, train
from tests.fakes import picture

CLASSES = ("green", "red", "blue")  # neither alphabetical nor reverse
STATE = ".student.training"


def settings(**changed: Any) -> StudentConfig:
    quick = {
        "imgsz": 32,
        "epochs": 4,
        "batch": 16,
        "workers": 0,
        "device": "cpu",
        "distill": "hard",
    }
    return StudentConfig.model_validate({"model": "yolov8n-cls.yaml"} | quick | changed)


def draw(folder: Path) -> None:
    for split, count in (("train", 8), ("valid", 3), ("test", 1)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                picture(name, number + 1000 * len(split)).save(
                    folder / split / name / f"{number}.png"
                )


class Stopped(Exception):
    """What ends a training in these tests."""


def stop_in(epoch: int) -> Callable[[EpochReport], None]:
    def on_epoch(report: EpochReport) -> None:
        if report.epoch >= epoch:
            raise Stopped

    return on_epoch


def epochs_of(folder: Path, config: StudentConfig, classes: tuple[str, ...] = CLASSES) -> list[int]:
    """Train the student of a folder to its end; returns the epochs that it took."""
    seen: list[int] = []
    train(folder / "dataset", folder / "student", config, classes,
          on_epoch=lambda report: seen.append(report.epoch))  # fmt: skip
    return seen


def first_epoch(folder: Path, config: StudentConfig, classes: tuple[str, ...] = CLASSES) -> int:
    """Begin to train the student of a folder; returns the epoch that it begins with."""
    seen: list[int] = []

    def on_epoch(report: EpochReport) -> None:
        seen.append(report.epoch)
        raise Stopped

    with pytest.raises(Stopped):
        train(folder / "dataset", folder / "student", config, classes, on_epoch=on_epoch)
    return seen[0]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, a model to start from, and a training from it that was stopped in
    its third epoch of four."""
    folder = tmp_path_factory.mktemp("stopped")
    draw(folder / "dataset")
    train(folder / "dataset", folder / "other", settings(epochs=1, seed=5), CLASSES)
    shutil.move(folder / "other" / "weights.pt", folder / "start.pt")
    with pytest.raises(Stopped):
        train(folder / "dataset", folder / "student", settings(model=str(folder / "start.pt")),
              CLASSES, on_epoch=stop_in(3))  # fmt: skip
    assert not (folder / "student").exists()
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the stopped training; what it started from stays where it was."""
    for name in ("dataset", STATE):
        shutil.copytree(stopped / name, tmp_path / name)
    return tmp_path


def same(stopped: Path, **changed: Any) -> StudentConfig:
    return settings(**({"model": str(stopped / "start.pt")} | changed))


def test_with_the_same_settings_it_goes_on(stopped: Path, folder: Path) -> None:
    before = rows(folder / STATE)
    assert epochs_of(folder, same(stopped)) == [3, 4]
    curve = rows(folder / "student")
    assert [row["epoch"] for row in curve] == ["1", "2", "3", "4"]
    assert {row["epochs"] for row in curve} == {"4"}
    assert curve[:2] == before[:2]  # what was measured before the interruption is not lost
    about = json.loads((folder / "student" / "student.json").read_text())
    assert about["epochs"] == 4 and about["images"] == 24
    assert about["valid_top1"] == float(curve[-1]["valid_top1"])
    assert not (folder / STATE).exists()
    # A finished training is not gone on with, it is done anew.
    assert first_epoch(folder, same(stopped)) == 1


def test_a_stopped_training_may_be_stopped_again(stopped: Path, folder: Path) -> None:
    for _ in range(2):  # the second time nothing was saved in between
        assert first_epoch(folder, same(stopped)) == 3
    assert epochs_of(folder, same(stopped)) == [3, 4]
    assert len(rows(folder / "student")) == 4


@pytest.mark.parametrize("changed", [{"workers": 1}, {"device": "auto"}])
def test_how_it_is_computed_may_change_meanwhile(
    stopped: Path, folder: Path, changed: dict[str, Any]
) -> None:
    if "device" in changed and torch.cuda.is_available():
        pytest.skip("would go on with another device")
    assert first_epoch(folder, same(stopped, **changed)) == 3


@pytest.mark.parametrize("changed", [
    {"train": {"lr0": 0.002}}, {"train": {"fliplr": 0.0}}, {"imgsz": 64}, {"batch": 8},
    {"seed": 1}, {"epochs": 5}, {"epochs": 3}, {"model": "yolov8n-cls.yaml"},
])  # fmt: skip
def test_with_other_settings_it_starts_anew(
    stopped: Path, folder: Path, changed: dict[str, Any]
) -> None:
    assert first_epoch(folder, same(stopped, **changed)) == 1
    # And what was begun under them is not what the earlier settings go on with.
    assert first_epoch(folder, same(stopped)) == 1


def test_from_other_weights_in_the_same_file_it_starts_anew(stopped: Path, folder: Path) -> None:
    start = stopped / "start.pt"
    known = start.read_bytes()
    try:
        checkpoint = torch.load(start, weights_only=False)
        for weight in checkpoint["model"].parameters():
            weight.data.mul_(0.5)
        torch.save(checkpoint, start)
        assert first_epoch(folder, same(stopped)) == 1
    finally:
        start.write_bytes(known)


def test_of_another_architecture_it_starts_anew(folder: Path) -> None:
    with pytest.raises(Stopped):
        train(folder / "dataset", folder / "student", settings(), CLASSES, on_epoch=stop_in(2))
    assert first_epoch(folder, settings()) == 2
    # Nothing was saved of the other one's first epoch, so there is nothing to go on from.
    for _ in range(2):
        assert first_epoch(folder, settings(model="yolo11n-cls.yaml")) == 1


def another_picture(folder: Path) -> None:
    picture("red", 77).save(folder / "dataset" / "train" / "red" / "77.png")


def a_picture_less(folder: Path) -> None:
    (folder / "dataset" / "valid" / "red" / "0.png").unlink()


def another_class(folder: Path) -> None:
    # The last of one class becomes the first of the next: the order of pictures stays.
    red, blue = (folder / "dataset" / "train" / name for name in ("red", "blue"))
    max(red.iterdir()).rename(blue / "!.png")


def another_size(folder: Path) -> None:
    picture("red", 77, (60, 60)).save(folder / "dataset" / "train" / "red" / "0.png")


@pytest.mark.parametrize("change", [another_picture, a_picture_less, another_class, another_size])
def test_with_another_dataset_it_starts_anew(
    stopped: Path, folder: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    assert first_epoch(folder, same(stopped)) == 1


def test_in_which_order_the_ontology_lists_the_classes_does_not_matter(
    stopped: Path, folder: Path
) -> None:
    assert first_epoch(folder, same(stopped), tuple(reversed(CLASSES))) == 3


def test_a_curve_that_lacks_an_epoch_is_not_gone_on_with(stopped: Path, folder: Path) -> None:
    curve = folder / STATE / "curve.csv"
    lines = curve.read_text().splitlines(keepends=True)
    curve.write_text("".join(lines[:3]))  # the two epochs whose state was saved
    shutil.copytree(folder / STATE, folder / "kept")
    assert first_epoch(folder, same(stopped)) == 3
    for text in ("".join(lines[:2]), "", lines[0] + "1,4,x,0,0,0\n" + lines[2]):
        shutil.rmtree(folder / STATE)
        shutil.copytree(folder / "kept", folder / STATE)
        curve.write_text(text)
        assert first_epoch(folder, same(stopped)) == 1


def test_a_training_that_only_lacks_its_last_step_trains_no_more(folder: Path) -> None:
    out = folder / "student"
    seen: list[int] = []

    def in_the_way(report: EpochReport) -> None:
        seen.append(report.epoch)
        if report.epoch == 2:
            out.write_text("a file where the student's folder belongs")

    with pytest.raises(OSError, match="student"):
        train(folder / "dataset", out, settings(epochs=2), CLASSES, on_epoch=in_the_way)
    assert seen == [1, 2] and out.is_file()
    out.unlink()
    assert epochs_of(folder, settings(epochs=2)) == []
    assert [row["epoch"] for row in rows(out)] == ["1", "2"]
    assert Student.load(out, "cpu").classes == tuple(sorted(CLASSES))


@pytest.mark.parametrize("key", [
    "model", "imgsz", "epochs", "batch", "seed", "device", "workers", "project", "name", "resume",
    "patience", "amp", "data", "mosaic", "mixup", "degrees", "lr", "",
])  # fmt: skip
def test_what_is_not_ours_to_give_away_cannot_be_set(folder: Path, key: str) -> None:
    with pytest.raises(StudentError) as refused:
        train(folder / "dataset", folder / "s", settings(train={"lr0": 0.1, key: 1}), CLASSES)
    assert str(refused.value) == (
        f"`student.train.{key}` cannot be set. What can: auto_augment, cos_lr, deterministic, "
        "dropout, erasing, fliplr, flipud, freeze, hsv_h, hsv_s, hsv_v, lr0, lrf, momentum, nbs, "
        "optimizer, scale, warmup_bias_lr, warmup_epochs, warmup_momentum, weight_decay; model, "
        "imgsz, epochs, batch, seed, device and workers are keys of `student`."
    )


@pytest.mark.parametrize("imgsz", [33, 48, 80, 2047])
def test_a_size_between_the_multiples_is_refused(folder: Path, imgsz: int) -> None:
    with pytest.raises(StudentError, match=rf"is {imgsz}\. It must be a multiple of 32"):
        train(folder / "dataset", folder / "s", settings(imgsz=imgsz), CLASSES)
    assert not (folder / "s").exists() and not (folder / ".s.training").exists()


def test_all_that_may_be_set_is_understood(folder: Path) -> None:
    everything = {
        "optimizer": "SGD", "lr0": 0.01, "lrf": 0.1, "cos_lr": False, "momentum": 0.8,
        "weight_decay": 0.001, "nbs": 16, "warmup_epochs": 0.5, "warmup_momentum": 0.7,
        "warmup_bias_lr": 0.01, "dropout": 0.1, "freeze": 1, "deterministic": False, "hsv_h": 0.1,
        "hsv_s": 0.1, "hsv_v": 0.1, "scale": 0.3, "fliplr": 0.1, "flipud": 0.1, "erasing": 0.1,
        "auto_augment": "augmix",
    }  # fmt: skip
    result = train(
        folder / "dataset", folder / "s", settings(epochs=1, imgsz=64, train=everything), CLASSES
    )
    assert (result.epochs, result.images) == (1, 24)
    about = json.loads((folder / "s" / "student.json").read_text())
    assert about["trained_with"]["train"] == everything and about["imgsz"] == 64
    # What a student says of itself is what the training returned.
    assert {name: about[name] for name in ("epochs", "images", "valid_top1", "parameters")} == {
        "epochs": 1, "images": 24, "valid_top1": result.valid_top1,
        "parameters": result.parameters,
    }  # fmt: skip
    assert about["defaults"] == {
        "optimizer": "AdamW", "lr0": 0.001, "cos_lr": True, "warmup_epochs": 1.0,
        "warmup_bias_lr": 0.0,
    }  # fmt: skip


def weights_of(path: Path) -> list[np.ndarray]:
    model = torch.load(path, weights_only=False)["model"]
    return [weight.detach().float().numpy() for weight in model.parameters()]


def test_a_setting_of_the_config_outdoes_the_default(stopped: Path, folder: Path) -> None:
    def moved(**lessons: Any) -> float:
        """How far the weights went from where they started."""
        shutil.rmtree(folder / "s", ignore_errors=True)
        train(folder / "dataset", folder / "s", same(stopped, epochs=1, train=lessons), CLASSES)
        both = zip(weights_of(stopped / "start.pt"), weights_of(folder / "s" / "weights.pt"),
                   strict=True)  # fmt: skip
        return max(float(np.abs(before - after).max()) for before, after in both)

    assert moved() > 0
    assert moved(lr0=0.0, warmup_bias_lr=0.0) == 0


def test_a_dataset_is_checked_before_anything_is_written(folder: Path) -> None:
    lone = folder / "dataset" / "train"
    for path in list(lone.rglob("*.png"))[1:]:
        path.unlink()
    with pytest.raises(StudentError, match="holds 1 images, and a student needs at least 2"):
        train(folder / "dataset", folder / "s", settings(), CLASSES)
    (lone / "yellow").mkdir()
    picture("yellow").save(lone / "yellow" / "1.png")
    with pytest.raises(StudentError, match="yellow belongs to no class"):
        train(folder / "dataset", folder / "s", settings(), CLASSES)
    assert not (folder / "s").exists() and not (folder / ".s.training").exists()
