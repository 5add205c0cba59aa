"""What people decided in other places than the page: in tables, and by moving files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import polars as pl

from pipeline.labels.decisions import match, read_decisions
from pipeline.labels.moved import exported, look_at_folder, moved_by_hand
from pipeline.records import EXPORTED, table
from pipeline.review.rows import Rows
from pipeline.run.stage import Run


class Elsewhere:
    """Image id → class, by the tables of decisions and by files that were moved by hand.

    The tables are read at once, and again when one of them has changed. To look through a folder of
    a million files takes seconds: it is done in the background, once something is shown, and only
    who needs to know of it waits.

    Args:
        run: whose decisions.
        places: returns the columns id and path of all images.

    Raises:
        ConfigError: a table cannot be used.
    """

    def __init__(self, run: Run, places: Callable[[], pl.DataFrame]) -> None:
        self._run, self._places = run, places
        space = run.workspace
        self._files = (space.human, space.moved, space.review)  # the later, the newer
        self._lock = threading.Lock()
        self._states, self._written = self._read()
        self._moved: Future[dict[str, str]] | None = None
        self._plan: tuple[Rows, pl.Series] | None = None  # where each image's file was put

    def begin(self) -> None:
        """Look through the folder, unless that has begun."""
        with self._lock:
            self._begun()

    def written(self) -> Mapping[str, str]:
        """Return what the tables said when they were last read."""
        return self._written

    def all(self) -> Mapping[str, str]:
        """Return what the tables and the moved files say, once the folder has been looked through.

        Raises:
            ConfigError: a table cannot be used, or a file lies in a folder that is no class. The
                folder is looked through again for whoever asks next.
            WorkspaceError, OSError: the folder or its table cannot be read; likewise.
        """
        moved = self._looked()
        return {**self._reread(), **moved}

    def of(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Return what `all` says of some images. For those whose files in the dataset are where
        they were put, nobody has to wait for the folder.

        Raises:
            ConfigError, WorkspaceError, OSError: as `all`.
        """
        if self._at_home(ids):
            return self._reread()
        return self.all()

    def _at_home(self, ids: Sequence[str]) -> bool:
        with self._lock:
            if self._plan is None:
                plan = exported(self._run.workspace)
                known = table([], EXPORTED) if plan is None else plan
                self._plan = Rows(known["id"]), known["file"]
            places, files = self._plan
        rows = places.find(ids)
        folder = self._run.workspace.dataset
        return all((folder / files[int(row)]).is_file() for row in rows[rows >= 0])

    def _looked(self) -> dict[str, str]:
        """What was moved, once the folder has been looked through."""
        with self._lock:
            looking = self._begun()
        try:
            return looking.result()
        except Exception:
            with self._lock:
                if self._moved is looking:
                    self._moved = None
            raise

    def _reread(self) -> dict[str, str]:
        """What the tables say now."""
        with self._lock:
            if self._states != _states(self._files):
                self._states, self._written = self._read()
            return self._written

    def _begun(self) -> Future[dict[str, str]]:
        if self._moved is None:
            self._moved = Future()
            work = threading.Thread(target=self._look, args=[self._moved], daemon=True)
            work.start()
        return self._moved

    def _look(self, found: Future[dict[str, str]]) -> None:
        try:
            classes = self._run.ontology.dataset_classes
            found.set_result(moved_by_hand(look_at_folder(self._run.workspace), classes))
        except Exception as error:  # noqa: BLE001 - raised where somebody asks
            found.set_exception(error)

    def _read(self) -> tuple[list[tuple[int, int] | None], dict[str, str]]:
        states = _states(self._files)
        decided: dict[str, str] = {}
        for file in self._files:
            rows = read_decisions(file, self._run.ontology)
            if not rows.is_empty():  # to match with a million images takes a while
                decided |= match(rows, self._places())[0]
        return states, decided


def _states(files: tuple[Path, ...]) -> list[tuple[int, int] | None]:
    """Time and size of each file; None where there is none."""
    found: list[tuple[int, int] | None] = []
    for file in files:
        try:
            state = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((state.st_mtime_ns, state.st_size))
    return found
