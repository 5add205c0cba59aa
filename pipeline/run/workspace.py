"""The run folder: where artifacts lie, and which process is at work in it.

An artifact is written beside its place and renamed into it, and a stage's stamp is written last:
whatever moment a process is killed at, every file in the folder is whole, and a stage without a
matching stamp is simply run again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import WorkspaceError


class Workspace:
    """`runs/<name>/`: the files of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = root / "images.parquet"
        self.frames = root / "frames"
        self.labels = root / "labels.parquet"
        self.review = root / "review.csv"
        self.human = root / "human.csv"
        self.dataset_table = root / "dataset.parquet"
        self.dataset = root / "dataset"
        self.student = root / "student"
        self.weights = self.student / "weights.pt"
        self.curve = self.student / "curve.png"
        self.students = root / "students"
        self.answers = root / "answers.parquet"
        self.evaluation = root / "evaluation.json"
        self.report = root / "report.html"
        self.report_md = root / "report.md"
        self.uploads = root / "upload"

    def stamp(self, stage: str) -> Path:
        """Return where the stamp of a stage lies."""
        return self.root / f"{stage}.json"

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
