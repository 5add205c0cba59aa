"""The run folder: where artifacts lie, how they are replaced, which stage is up to date.

An artifact is written beside its place and renamed into it, and a stage's stamp is written last:
whatever moment a process is killed at, every file in the folder is whole, and a stage without a
matching stamp is simply run again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout

from pipeline import __version__
from pipeline.errors import WorkspaceError
from pipeline.records import Schema

STAGES = ("label", "dataset", "train", "evaluate")


@dataclass(frozen=True)
class Stamp:
    """What a finished stage left behind: proof of what it was made from, and what came out."""

    stage: str
    fingerprint: str
    counts: dict[str, Any]
    seconds: float
    finished: str  # ISO 8601, UTC
    versions: dict[str, str]


class Workspace:
    """`runs/<name>/`: the files of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = root / "images.parquet"
        self.frames = root / "frames"
        self.labels = root / "labels.parquet"
        self.review = root / "review.csv"
        self.dataset_table = root / "dataset.parquet"
        self.dataset = root / "dataset"
        self.student = root / "student"
        self.students = root / "students"
        self.human = root / "human.csv"
        self.answers = root / "answers.parquet"
        self.report_md = root / "report.md"
        self.evaluation = root / "evaluation.json"
        self.report = root / "report.html"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run folder for one process; the lock falls with the process that holds it.

        Raises:
            WorkspaceError: another process is at work in this folder.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise WorkspaceError(
                f"{self.root} is in use by another clip2yolo process. "
                "Wait until it has finished, or give this run another `workspace:`."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def stamp(self, stage: str) -> Stamp | None:
        """Return the stage's stamp, or None where it never finished (or its stamp is damaged)."""
        try:
            data = json.loads((self.root / f"{stage}.json").read_text("utf-8"))
            return Stamp(**data)
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def is_current(self, stage: str, fingerprint: str) -> bool:
        """Say whether the stage finished with exactly these inputs and settings."""
        stamp = self.stamp(stage)
        return stamp is not None and stamp.fingerprint == fingerprint

    def finish(self, stage: str, fingerprint: str, counts: dict[str, Any], seconds: float) -> Stamp:
        """Write the stage's stamp: the last thing that a stage does."""
        stamp = Stamp(
            stage=stage,
            fingerprint=fingerprint,
            counts=counts,
            seconds=round(seconds, 3),
            finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            versions={"clip2yolo": __version__},
        )
        write_json(self.root / f"{stage}.json", stamp.__dict__)
        return stamp

    def forget(self, *stages: str) -> None:
        """Remove stamps, so that these stages run again."""
        for stage in stages:
            (self.root / f"{stage}.json").unlink(missing_ok=True)


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 of the parts as canonical JSON; equal parts give equal fingerprints."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` in one step.

    The temporary path keeps the suffix, so that writers that look at it still work. On an error
    nothing has changed and the temporary file or folder is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    aside = holder / path.name
    try:
        yield aside
        if aside.is_dir() and path.is_dir():
            # A folder cannot be renamed over a folder: the old one steps aside first.
            path.replace(holder / "old")
        elif aside.is_file():
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
        aside.replace(path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace a text file (UTF-8) in one step."""
    with replacing(path) as aside:
        aside.write_text(text, "utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


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
        self._blocks = 0

    def add(self, block: pl.DataFrame) -> None:
        """Append rows."""
        with _words_of_a_full_disk(self._folder):
            block.write_parquet(self._folder / f"{self._blocks:06d}.parquet")
        self._blocks += 1


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
            pl.scan_parquet(parts / "*.parquet").sink_parquet(aside, maintain_order=True)


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
        return pl.scan_parquet(path).select(wanted).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise WorkspaceError(
            f"{path} cannot be read ({type(error).__name__}). "
            f"Delete it and run `clip2yolo {made_by}` again."
        ) from error
