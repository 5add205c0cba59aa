"""What is trained, how and where; for the processes of one training as files that hold no code."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.config import StudentConfig
from pipeline.machine import pick_device
from pipeline.records import write_table
from pipeline.storage.address import Place
from pipeline.student.devices import devices_of
from pipeline.student.lessons import Lessons

# A path need not be text, and one that looks like an address may be a file's.
_IMAGES = pl.Schema({"split": pl.String, "place": pl.Binary, "file": pl.Boolean, "class": pl.Int32})
_ARRAYS = ("targets", "draws", "certain")


@dataclass(frozen=True)
class Task:
    """A training."""

    config: StudentConfig
    devices: list[str]  # of several each has a process of its own
    lessons: Lessons  # images, `_ARRAYS`, sights; the rest has no part in a training
    classes: list[str]  # in the order of the student's answers
    max_pixels: int
    level: int  # from which the log is shown, see `logging`

    @classmethod
    def of(
        cls, config: StudentConfig, lessons: Lessons, classes: Sequence[str], max_pixels: int
    ) -> Task:
        """Return a training on the devices that the settings name, or that this machine has.

        Raises:
            StudentError: they cannot train together.
            DeviceError: one of them is not there.
        """
        devices = [pick_device(one) for one in devices_of(config)]
        level = logging.getLogger().getEffectiveLevel()
        return cls(config, devices, lessons, list(classes), max_pixels, level)

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            (split, *image) for split, images in self.lessons.samples.items() for image in images
        ]
        columns = {
            "split": [split for split, _, _ in rows],
            "place": [os.fsencode(place) for _, place, _ in rows],
            "file": [isinstance(place, Path) for _, place, _ in rows],
            "class": [index for _, _, index in rows],
        }
        write_table(folder / "images.parquet", pl.DataFrame(columns, _IMAGES))
        for name in _ARRAYS:
            file, array = folder / f"{name}.npy", getattr(self.lessons, name)
            file.unlink(missing_ok=True)
            if array is not None:
                np.save(file, array)
        facts = {
            "config": self.config.model_dump(),
            "devices": self.devices,
            "splits": list(self.lessons.samples),
            "classes": self.classes,
            "max_pixels": self.max_pixels,
            "level": self.level,
            "sights": None if self.lessons.sights is None else str(self.lessons.sights.absolute()),
        }
        (folder / "task.json").write_text(json.dumps(facts), "utf-8")

    @classmethod
    def read(cls, folder: Path) -> Task:
        """Read what `write` wrote."""
        facts = json.loads((folder / "task.json").read_text("utf-8"))
        samples: dict[str, list[tuple[Place, int]]] = {split: [] for split in facts.pop("splits")}
        for split, place, file, index in pl.read_parquet(folder / "images.parquet").iter_rows():
            name = os.fsdecode(place)
            samples[split].append((Path(name) if file else name, index))
        files = {name: folder / f"{name}.npy" for name in _ARRAYS}
        arrays = {name: np.load(file) for name, file in files.items() if file.is_file()}
        config = StudentConfig.model_validate(facts.pop("config"))
        sights = None if (place := facts.pop("sights")) is None else Path(place)
        return cls(config=config, lessons=Lessons(samples, sights=sights, **arrays), **facts)
