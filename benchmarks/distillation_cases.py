"""Labels to distill into students: what a run of the product leaves, in a folder that is whole by
itself, so that the students can be trained on another machine, which needs no teacher.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.labels.refine.batch import Batch, Space

HOME = Path(__file__).parent / "runs" / "distillation"
METHODS_OF_TRUTH = ("yolo", "hard")  # nothing is believed of what is known


@dataclass(frozen=True)
class Case:
    """A data set with its labels, as a folder of `HOME` holds it.

    Beside `case.json` lie `batch.npz` (see `write_batch`), `dataset.parquet` (columns id, class,
    split, file), `beliefs.parquet` (as the run's, with ids for paths), `guesses.parquet` (id,
    guess: the likeliest class of every image of the pool, whether that was accepted or not) and
    `test.parquet` (id, class, teacher: its answer). The images are in `HOME/images`, under their
    ids.
    """

    name: str
    data: str
    teacher: str
    labels: str
    model: str  # that students start from: a file of `HOME`, or an architecture
    imgsz: int
    epochs: int
    batch: int
    labels_right: float  # share of the likeliest classes that are right

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return HOME / self.name

    @property
    def start(self) -> str:
        """What `student.model` is set to."""
        return str(HOME / self.model) if (HOME / self.model).is_file() else self.model

    def table(self, name: str) -> pl.DataFrame:
        """Return one of its tables."""
        return pl.read_parquet(self.folder / f"{name}.parquet", glob=False)


def image(image_id: str) -> Path:
    """Return where an image lies."""
    return HOME / "images" / image_id


def write_batch(path: Path, batch: Batch, ids: pl.Series) -> None:
    """Keep all images of a run with what is known of each, for a second round elsewhere."""
    vectors = {f"space {number}": one.vectors for number, one in enumerate(batch.spaces)}
    np.savez_compressed(
        path, ids=ids.to_numpy().astype("U64"), classes=np.array(batch.classes), plain=batch.plain,
        votes=batch.votes, **{name: one.astype(np.float16) for name, one in vectors.items()},
    )  # fmt: skip


def read_batch(path: Path) -> tuple[Batch, pl.Series]:
    """Return what `write_batch` kept, and the ids of the images."""
    with np.load(path) as kept:
        spaces = tuple(
            Space(name, kept[name].astype(np.float32)) for name in kept if name.startswith("space")
        )
        known = np.full(len(kept["plain"]), -1)
        batch = Batch(tuple(kept["classes"].tolist()), kept["plain"], spaces, known, kept["votes"])
        return batch, pl.Series(kept["ids"].tolist(), dtype=pl.String)


def known_cases() -> list[Case]:
    """Return the cases that were prepared."""
    files = sorted(HOME.glob("*/case.json"))
    return [Case(**json.loads(file.read_text("utf-8"))) for file in files]


def put(image_id: str, target: Path) -> None:
    """Have an image of `HOME` lie at a place of its own, for a dataset in folders."""
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(image(image_id), target)
