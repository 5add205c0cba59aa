"""The run folder: where artifacts lie, and which process is at work in it.

An artifact is written beside its place and renamed into it, and a stage's stamp is written last:
whatever moment a process is killed at, every file in the folder is whole, and a stage without a
matching stamp is simply run again.

What is replaced here is what the run has made itself, and it keeps a list of that. A file or folder
of the same name that was there before is somebody else's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.errors import WorkspaceError
from pipeline.files import sweep, write_json

_LIST = ".clip2yolo.json"  # what the run has made in its folder, and where its config lay
_STAMPS = ("label.json", "dataset.json", "train.json", "export.json", "evaluate.json")
_FOLDERS = ("frames", "notices", "dataset", "student", "students", "exports")


class Workspace:
    """`runs/<name>/`: the files of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = root / "images.parquet"
        self.frames = root / "frames"
        self.labels = root / "labels.parquet"
        self.sample = root / "sample.parquet"
        self.review = root / "review.csv"
        self.notices = root / "notices"
        self.human = root / "human.csv"
        self.moved = root / "moved.csv"
        self.said = root / "answers.jsonl"
        self.audit = root / "audit.csv"
        self.audit_frame = root / "audit.parquet"
        self.dataset_table = root / "dataset.parquet"
        self.beliefs = root / "beliefs.parquet"
        self.dataset = root / "dataset"
        self.student = root / "student"
        self.weights = self.student / "weights.pt"
        self.curve = self.student / "curve.csv"
        self.students = root / "students"
        self.exports = root / "exports"
        self.answers = root / "answers.parquet"
        self.suspects = root / "suspects.parquet"
        self.evaluation = root / "evaluation.json"
        self.report = root / "report.html"
        self.report_md = root / "report.md"
        self.uploads = root / "upload"
        self.teachers = root / "teachers.jpg"
        self._makes = (
            *(
                self.images,
                self.frames,
                self.labels,
                self.sample,
                self.notices,
                self.dataset_table,
                self.beliefs,
                self.dataset,
            ),
            *(self.student, self.students, self.exports, self.answers, self.suspects),
            *(self.evaluation, self.report, self.report_md, *(root / name for name in _STAMPS)),
        )

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
            exports = (self.exports, self.exports / "failed")
            for folder in (self.root, self.notices, self.students, *exports, self.uploads):
                sweep(folder)
            self._refuse_strangers()
            yield
        finally:
            lock.release()

    def claim(self, *paths: Path) -> None:
        """Note that the run is about to make these, so that it may replace them from now on. The
        caller holds the lock."""
        made = _made(self.root)
        if new := {path.name for path in paths} - made:
            self._note(made | new, self.place)

    def take(self, path: Path) -> None:
        """Claim a file that no stage makes. The caller holds the lock.

        Raises:
            WorkspaceError: what lies there is not the run's own.
        """
        if path.name not in _made(self.root) and _is_there(path):
            raise WorkspaceError(
                f"{path} is there already and was not made by this run. Move it away, or write to "
                "another place with `--output`."
            )
        self.claim(path)

    @property
    def place(self) -> str | None:
        """The folder of the config when the run was last at work; None where nobody noted it."""
        place = _noted(self.root).get("place")
        return place if isinstance(place, str) else None

    def note_place(self, place: str) -> None:
        """Note the folder of the config. The caller holds the lock."""
        self._note(_made(self.root), place)

    def _note(self, made: set[str], place: str | None) -> None:
        write_json(self.root / _LIST, {"made": sorted(made), "place": place})

    def _refuse_strangers(self) -> None:
        """Raise a WorkspaceError where something that the run would replace is not its own."""
        made = _made(self.root)
        strangers = [path for path in self._makes if path.name not in made and _is_there(path)]
        if strangers:
            names = ", ".join(path.name for path in strangers)
            raise WorkspaceError(
                f"{self.root} holds what this run would replace and has not made: {names}. Move it "
                "away, or give the run a `workspace:` of its own."
            )


def made_in(folder: str | Path, names: Collection[str]) -> tuple[str, ...]:
    """Return the names of the folders in `folder` that a run has made; () where it is no run's.

    Args:
        names: of all that `folder` holds.
    """
    if _LIST not in names and not any(name in names for name in _STAMPS):
        return ()
    made = _made(Path(folder))
    return tuple(name for name in _FOLDERS if name in made)


def _made(root: Path) -> set[str]:
    """The names of what a run has made in its folder."""
    made = _noted(root).get("made")
    if isinstance(made, list):
        return {str(name) for name in made}
    # A run from before there was a list: its stamps tell, and all that has its names is its own.
    if any(_is_stamp(root / name) for name in _STAMPS):
        return {path.name for path in Workspace(root)._makes}
    return set()


def _noted(root: Path) -> dict[str, Any]:
    try:
        known = json.loads((root / _LIST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _is_stamp(path: Path) -> bool:
    try:
        known = json.loads(path.read_text("utf-8"))
        return f"{known['stage']}.json" == path.name and "clip2yolo" in known["versions"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
