"""A dataset of three colors and the settings of a quick training on it."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pipeline.config import StudentConfig
from tests.fakes import picture

# An ontology's order, neither alphabetical nor reverse; the student's own is that of the folders.
CLASSES = ("green", "red", "blue")
# With these, so few pictures are learned in a dozen epochs.
LESSONS = {"lr0": 0.003, "nbs": 16, "erasing": 0.0, "auto_augment": "", "hsv_h": 0.0}


def config(**settings: object) -> StudentConfig:
    quick = {"model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 3, "batch": 16, "workers": 0}
    quick |= {"distill": "hard"}  # all that folders say
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


def renumber(student: Path, classes: tuple[str, ...]) -> None:
    """Give the student in a folder this order of answers, as earlier versions gave it the
    ontology's; what it answers by name stays."""
    checkpoint = torch.load(student / "weights.pt", weights_only=False)
    model = checkpoint["model"]
    there = [model.names[index] for index in sorted(model.names)]
    rows = [there.index(name) for name in classes]
    head = model.model[-1].linear
    head.load_state_dict({name: value[rows] for name, value in head.state_dict().items()})
    model.names = dict(enumerate(classes))
    torch.save(checkpoint, student / "weights.pt")
    card = json.loads((student / "student.json").read_text())
    (student / "student.json").write_text(json.dumps(card | {"classes": list(classes)}))
