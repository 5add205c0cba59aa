"""The run folder: where artifacts lie, and which process is at work in it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline import __version__
from pipeline.errors import WorkspaceError
from pipeline.files import write_json

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
