"""A student numbers its classes as every tool that reads image folders does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.measure import predict_files
from pipeline.student import Student, train
from tests.fakes import picture
from tests.tiny_student import LESSONS, config

# In the ontology's order; sorted, they are Zebra, apple, zoo, ärmel.
COLORS = {"zoo": "red", "ärmel": "green", "apple": "blue", "Zebra": "yellow"}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of four colors under odd names and a student that has learned them,
    though not by heart."""
    root = tmp_path_factory.mktemp("ordered")
    for split, count in (("train", 30), ("valid", 4), ("test", 12)):
        for name, color in COLORS.items():
            folder = root / "dataset" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture(color, number + 1000 * len(split)).save(folder / f"{number}.png")
    # Tools that read a folder crop: `yolo val` does, whatever the weights say.
    settings = config(epochs=9, fit="crop", train=LESSONS)
    train(root / "dataset", root / "student", settings, tuple(COLORS))
    # One picture under a wrong name, so that not everything is right.
    wrong = root / "dataset" / "test" / "apple" / "wrong.png"
    picture("red", 5).save(wrong)
    return root


def right(taught: Path) -> float:
    """The share of the test split that our own evaluation finds right."""
    student = Student.load(taught / "student", "cpu")
    paths = sorted((taught / "dataset" / "test").rglob("*.png"))
    answers = predict_files(student, paths).in_order(tuple(COLORS)).probabilities.argmax(axis=1)
    wanted = [list(COLORS).index(path.parent.name) for path in paths]
    return float(np.mean(answers == wanted))


def test_the_student_numbers_classes_as_folders_are_sorted(taught: Path) -> None:
    folders = sorted(path.name for path in (taught / "dataset" / "train").iterdir())
    assert folders == ["Zebra", "apple", "zoo", "ärmel"]
    assert list(Student.load(taught / "student", "cpu").classes) == folders
    assert (
        json.loads((taught / "student" / "student.json").read_text("utf-8"))["classes"] == folders
    )
    assert 0.7 < right(taught) < 1


def test_yolo_val_finds_the_same_accuracy(taught: Path, tmp_path: Path) -> None:
    from ultralytics import YOLO

    shutil.copytree(taught / "dataset", tmp_path / "dataset")  # it may write beside the images
    found = YOLO(taught / "student" / "weights.pt").val(
        data=str(tmp_path / "dataset"), split="test", imgsz=32, device="cpu", workers=0,
        plots=False, verbose=False, project=str(tmp_path / "val"), name="val",
    )  # fmt: skip
    assert found.top1 == pytest.approx(right(taught))


def test_image_folder_and_the_weights_find_the_same_accuracy(taught: Path) -> None:
    import torch
    from torchvision.datasets import ImageFolder
    from ultralytics.data.augment import classify_transforms

    images = ImageFolder(str(taught / "dataset" / "test"), transform=classify_transforms(size=32))
    model = torch.load(taught / "student" / "weights.pt", weights_only=False)["model"]
    with torch.inference_mode():
        answers = model.float().eval()(torch.stack([image for image, _ in images]))[0]
    guesses = answers.argmax(dim=1).tolist()
    share = np.mean([guess == label for guess, (_, label) in zip(guesses, images, strict=True)])
    assert share == pytest.approx(right(taught))
