"""What passes between the stages: the tables' schemas and a few frozen records.

Every table is a Parquet file in the workspace. `id` is the SHA-256 of an image file's bytes in
hexadecimal, so it names the picture and not the place; `path` is absolute.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from PIL import Image

Schema = dict[str, Any]

IMAGES: Schema = {
    "id": pl.String,  # null where the bytes could not be read
    "path": pl.String,
    "bytes": pl.Int64,
    "mtime_ns": pl.Int64,
    "video": pl.String,  # path of the video; this and the next two are null for other images
    "frame": pl.Int64,  # its number, from 0
    "seconds": pl.Float64,  # its time, from the video's first frame
    "status": pl.String,  # one of STATUSES
    "reason": pl.String,  # a sentence, or null where status is "ok"
}
STATUSES = ("ok", "unreadable", "duplicate")

LABELS: Schema = {
    "id": pl.String,
    "path": pl.String,
    "class": pl.String,  # null where nothing was accepted
    "guess": pl.String,  # the most probable class, accepted or not
    "confidence": pl.Float32,  # probability of `guess`
    "margin": pl.Float32,  # confidence minus the runner-up's probability
    "probabilities": pl.List(pl.Float32),  # in class order
    "decision": pl.String,  # one of DECISIONS
    "reason": pl.String,
}
DECISIONS = ("accepted", "abstained", "human")

DATASET: Schema = {
    "id": pl.String,
    "path": pl.String,  # of the source image
    "class": pl.String,
    "split": pl.String,  # one of SPLITS
    "group": pl.String,  # near-duplicates share it, and with it the split
    "file": pl.String,  # below the dataset folder: "train/orange/frame_000123.jpg"
}
SPLITS = ("train", "valid", "test")

TRUTH: Schema = {"id": pl.String, "path": pl.String, "class": pl.String}


def table(rows: Sequence[dict[str, Any]], schema: Schema) -> pl.DataFrame:
    """Return `rows` as a table with exactly the columns and types of `schema`."""
    return pl.DataFrame(rows, schema=schema, orient="row")


class Progress(Protocol):
    """Told how far a long piece of work has come; the result does not depend on it."""

    def __call__(self, done: int, total: int) -> None: ...


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


class Listener:
    """What a stage tells while it works. This one keeps silent; the command line's draws bars."""

    def say(self, sentence: str) -> None:
        """A fact about the run."""

    def warn(self, sentence: str) -> None:
        """Something a person should look at; the run goes on."""

    def epoch(self, report: Any) -> None:
        """An epoch of training has ended (`pipeline.student.EpochReport`)."""

    @contextlib.contextmanager
    def bar(self, title: str, unit: str) -> Iterator[Progress]:
        """Yield what is told of the progress of one long piece of work."""
        yield no_progress


class Predictor(Protocol):
    """Anything that turns a picture into class probabilities: the teacher, the student."""

    name: str
    classes: tuple[str, ...]
    parameters: int
    file_bytes: int | None
    device: str

    def prepare(self, image: Image.Image) -> Any:
        """Return what `predict` takes for one RGB image. Thread-safe."""
        ...

    def predict(self, batch: Sequence[Any]) -> np.ndarray:
        """Return float32 probabilities (n, classes) for n prepared images."""
        ...


@dataclass(frozen=True)
class Prediction:
    """One predictor's answers on a list of images, in their order."""

    classes: tuple[str, ...]
    probabilities: np.ndarray  # (n, classes) float32
