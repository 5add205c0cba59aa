"""Labels that are made while the page is open: noticed, and taken over."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.config import Config, load_config
from pipeline.errors import Clip2YoloError, WorkspaceError, describe_os_error
from pipeline.labels.stage import LABEL
from pipeline.review.album import Album
from pipeline.review.desk import Desk
from pipeline.review.elsewhere import Elsewhere
from pipeline.run.stage import Run

log = logging.getLogger(__name__)

_EVERY = 1.0  # seconds between two looks, which cost two questions to the file system
_PATIENCE = 10  # looks after which labels that could not be taken over are tried again

_State = tuple[int, int, int] | None  # what tells one stamp from the next; None: there is none


@dataclass(frozen=True)
class Labeling:
    """A run as it was labeled last."""

    run: Run
    album: Album
    elsewhere: Elsewhere
    label: _State
    dataset: _State

    @classmethod
    def of(cls, run: Run) -> Labeling:
        """Read what there is.

        Raises:
            WorkspaceError: there are no labels yet, or they are damaged.
            ConfigError: a table of decisions cannot be used.
        """
        space = run.workspace
        # The stamps are looked at first: what changes while the tables are read is noticed later.
        label, dataset = (_state(space.stamp(name)) for name in ("label", "dataset"))
        stamp = LABEL.stamp(space)
        if stamp is None:
            raise WorkspaceError(f"{space.root} has no labels yet. Run `clip2yolo label` first.")
        album = Album.of(run, stamp.counts.vectors_of)
        return cls(run, album, Elsewhere(run, lambda: album.places), label, dataset)


class Follower(Protocol):
    """Who else goes on with new labels: see `pipeline.review.refiner.Refiner`."""

    def follow(self, run: Run, album: Album) -> None: ...


class Takeover:
    """Looks every second whether `clip2yolo label` has run, and hands its labels to the desk.

    Args:
        known: the labeling that the desk has.
        desk: which takes the next one; answers stay.
        follower: is told after it.
    """

    def __init__(self, known: Labeling, desk: Desk, follower: Follower) -> None:
        self._known, self._desk, self._follower = known, desk, follower
        self._waits = 0  # looks that are passed over after a failure
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="takeover", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End with the next look."""
        self._ended.set()

    def look(self) -> None:
        """Take over what is new. What cannot be read is noted at the desk, and the labels that are
        there stay."""
        known, space = self._known, self._known.run.workspace
        label, dataset = (_state(space.stamp(name)) for name in ("label", "dataset"))
        if label is None or (label, dataset) == (known.label, known.dataset):
            return
        if self._waits:
            self._waits -= 1
            return
        try:
            fresh = Labeling.of(_run_of(known.run))
        except (Clip2YoloError, OSError, MemoryError) as error:
            why = describe_os_error(error) if isinstance(error, OSError) else str(error)
            why = why or "The memory is used up."
            self._desk.note = f"There are new labels, which cannot be shown. {why}"
            self._waits = _PATIENCE
            return
        self._known = fresh
        self._desk.note = None
        if fresh.label == known.label:  # the same labels, dealt to splits anew
            self._desk.album.splits_changed()
            self._desk.decided_anew(fresh.elsewhere)
            return
        self._desk.adopt(fresh.album, fresh.elsewhere)
        self._follower.follow(fresh.run, fresh.album)

    def _work(self) -> None:
        while not self._ended.wait(_EVERY):
            try:
                self.look()
            except Exception:  # the next look may go well, and answers go on
                log.exception("looking for new labels failed")


def _run_of(run: Run) -> Run:
    """The run with its config as it stands now, with which it was probably labeled."""
    config: Config = run.config
    if config.file.is_file():
        now = load_config(config.file)
        config = now if now.workspace == config.workspace else config
    return Run.of(config, run.listener)


def _state(file: Path) -> _State:
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino
