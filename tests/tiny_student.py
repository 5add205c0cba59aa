"""A dataset of three colors and the settings of a quick training on it."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import StudentConfig
from tests.fakes import picture

# Neither alphabetical nor reverse: ultralytics would number the folders otherwise.
CLASSES = ("green", "red", "blue")


def config(**settings: object) -> StudentConfig:
    quick = {"model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 3, "batch": 16, "workers": 0}
    return StudentConfig.model_validate(quick | settings)


def make_dataset(folder: Path, images: int = 12) -> Path:
    for split, share in (("train", images), ("valid", 4), ("test", 2)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for number in range(share):
                picture(name, number + 1000 * len(split)).save(
                    folder / split / name / f"{number}.png"
                )
    return folder
