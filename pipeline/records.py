"""What passes between the stages: tables with their schemas, and a few frozen records.

Every table is a Parquet file in the workspace. `id` is the SHA-256 of an image file's bytes in
hexadecimal, so it names the picture and not the place; `path` is absolute.
"""

from __future__ import annotations

import contextlib
import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from PIL import Image

from pipeline.errors import WorkspaceError
from pipeline.files import replacing
from pipeline.pixels import read_rgb

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
    "plain": pl.String,  # the class that the words alone find the most probable
    "plain_confidence": pl.Float32,  # its probability, by the words alone
    "moved": pl.Boolean,  # whether `guess` is another class than `plain`
    "doubt": pl.Float32,  # how likely `guess` is wrong, 0 to 1: a ranking, no probability
    "unlike": pl.Float32,  # how little the image fits any class, 0 to 1
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

# What every image that may teach is believed to be; none of them resembles what a student is chosen
# or tested on.
BELIEFS: Schema = {
    "id": pl.String,
    "path": pl.String,  # of the source image
    "file": pl.String,  # below the dataset folder; null where it does not lie there
    "class": pl.String,  # its label; null where it has none
    "kind": pl.String,  # one of KINDS
    "human": pl.Boolean,  # whether a person said so
    "probabilities": pl.List(pl.Float32),  # of the dataset's classes, sorted; they sum to 1
    "weight": pl.Float32,  # how much it counts beside the others
}
# "label": in the train split; "belief": undecided; "outside": of none of the dataset's classes.
KINDS = ("label", "belief", "outside")

# The accepted labels that a student has learned or was chosen by, the likeliest errors first.
SUSPECTS: Schema = {
    "id": pl.String,
    "path": pl.String,  # of the source image
    "class": pl.String,  # its label
    "suspicion": pl.Float32,  # how likely the label is wrong, 0 to 1: a ranking, no probability
    "doubt": pl.Float32,  # of labels.parquet
    "student_doubt": pl.Float32,  # the same by what the student sees
    "neighbours": pl.Float32,  # probability of the label among the images that look like it
    "rival": pl.String,  # the likeliest other class among these
    "rival_share": pl.Float32,  # and its probability
}

# What lies in the dataset's folder, as it was written there; kept in that folder, so that the two
# are replaced in one step.
EXPORTED: Schema = {
    "id": pl.String,
    "class": pl.String,
    "split": pl.String,
    "file": pl.String,  # below the folder
    "bytes": pl.Int64,
}
EXPORTED_FILE = ".clip2yolo.parquet"

# Where each image of a dataset lies that was written as shards; kept in the dataset's folder.
SHARDED: Schema = {
    "id": pl.String,
    "class": pl.String,
    "split": pl.String,
    "file": pl.String,  # of dataset.parquet
    "shard": pl.String,  # below the dataset: "train/000000-3f0a9c….tar"
    "entry": pl.String,  # in the shard: "<id>.jpg", "image[17]"
    "start": pl.Int64,  # byte of the shard
    "bytes": pl.Int64,
    "shard_bytes": pl.Int64,
    "png_of": pl.String,  # suffix of an original whose pixels were written as PNG, else null
}
SHARDED_FILE = ".clip2yolo.shards.parquet"
SHARDS_MADE = ".clip2yolo.made.json"  # there from the moment on in which a shard may be

# The images that a large run's labels were learned from; another run may be given the same ones.
SAMPLE: Schema = {name: IMAGES[name] for name in ("id", "path", "video", "seconds")}

TRUTH: Schema = {"id": pl.String, "path": pl.String, "class": pl.String}
EXAMPLES = TRUTH  # of each class, what a person gave to show what it looks like


class Predictor(Protocol):
    """Anything that turns a picture into class probabilities: the teacher, the student."""

    name: str
    classes: tuple[str, ...]
    parameters: int
    file_bytes: int | None
    device: str
    streams: int = 1  # batches that are best asked about side by side, each on one thread
    runtime: str = "torch"  # whose threads compute

    def read(self, data: bytes, max_pixels: int) -> Any:
        """Return what `predict` takes of the bytes of an image file. Thread-safe.

        Raises:
            SourceError: they cannot be decoded, or would be more than `max_pixels`.
        """
        return self.prepare(read_rgb(data, max_pixels))

    @abstractmethod
    def prepare(self, image: Image.Image) -> Any:
        """Return what `predict` takes of an RGB image in memory. Thread-safe."""

    @abstractmethod
    def predict(self, batch: Sequence[Any]) -> np.ndarray:
        """Return float32 probabilities (n, classes) of images that were read or prepared."""


@dataclass(frozen=True)
class Prediction:
    """One predictor's answers on a list of images, in their order."""

    classes: tuple[str, ...]
    probabilities: np.ndarray  # (n, classes) float32

    def in_order(self, classes: Sequence[str]) -> Prediction:
        """Return the same answers with the columns in the order of `classes`: those that are known
        here, and others, which get no probability."""
        shares = np.zeros((len(self.probabilities), len(classes)), np.float32)
        for column, name in enumerate(self.classes):
            shares[:, classes.index(name)] = self.probabilities[:, column]
        return Prediction(tuple(classes), shares)


def table(rows: Sequence[dict[str, Any]], schema: Schema) -> pl.DataFrame:
    """Return `rows` as a table with exactly the columns and types of `schema`."""
    return pl.DataFrame(rows, schema=schema, orient="row")


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Replace a Parquet file in one step.

    Raises:
        WorkspaceError: the disk takes no more; the earlier file is as it was.
    """
    with replacing(path) as aside, _words_of_a_full_disk(path):
        frame.write_parquet(aside)


class TableWriter:
    """Writes a table block by block, so that it never lies in memory whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: list[Path] = []

    def add(self, block: pl.DataFrame) -> None:
        """Append rows."""
        with _words_of_a_full_disk(self._folder):
            file = self._folder / f"{len(self.files):06d}.parquet"
            block.write_parquet(file)
        self.files.append(file)


@contextlib.contextmanager
def streamed_table(path: Path, schema: Schema) -> Iterator[TableWriter]:
    """Yield what takes a table's blocks; afterwards the table replaces `path` in one step.

    Raises:
        WorkspaceError: the disk takes no more; the earlier file is as it was.
    """
    with replacing(path) as aside:
        parts = aside.with_name("parts")
        parts.mkdir()
        writer = TableWriter(parts)
        writer.add(pl.DataFrame(schema=schema))
        yield writer
        with _words_of_a_full_disk(path):
            pl.scan_parquet(writer.files, glob=False).sink_parquet(aside, maintain_order=True)


@contextlib.contextmanager
def _words_of_a_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:  # how polars words a failed write
        raise WorkspaceError(
            f"{path} cannot be written ({' '.join(str(error).split())[:160]}). "
            "Free some space on the disk and run the same command again."
        ) from error


def read_table(
    path: Path, schema: Schema, made_by: str, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Read a table that an earlier stage wrote, or some of its columns.

    Raises:
        WorkspaceError: the file is missing, damaged or has other columns; `made_by` names the
            command that writes it.
    """
    if not path.is_file():
        raise WorkspaceError(f"{path} is not there yet. Run `clip2yolo {made_by}` first.")
    try:
        wanted = [pl.col(name).cast(schema[name]) for name in columns or schema]
        return pl.scan_parquet(path, glob=False).select(wanted).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise WorkspaceError(
            f"{path} cannot be read ({type(error).__name__}). "
            f"Delete it and run `clip2yolo {made_by}` again."
        ) from error


def digest_of_columns(table: pl.DataFrame, *columns: str) -> str:
    """Return a SHA-256 over columns of text, row by row; a million rows take a second."""
    digest = hashlib.sha256()
    for name in columns:
        cells = table[name].fill_null("\0")
        for start in range(0, len(cells), 100_000):
            block = cells[start : start + 100_000].to_list()
            digest.update("\n".join(block).encode() + b"\n")
        digest.update(b"\0\0")
    return digest.hexdigest()


def digest_of_numbers(*columns: pl.Series) -> str:
    """Return a SHA-256 over columns of numbers, bit by bit."""
    digest = hashlib.sha256()
    for column in columns:
        digest.update(np.ascontiguousarray(column.to_numpy()).tobytes() + b"\0\0")
    return digest.hexdigest()
