"""What is asked and what was answered: the page's questions to the album and to the answers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.class_names import check_class_name
from pipeline.errors import ConfigError
from pipeline.labels.answers import Answer, AnswerLog, Purpose, heard, now
from pipeline.review.album import Album, Wanted
from pipeline.review.elsewhere import Elsewhere
from pipeline.review.order import most_alike, most_doubtful, screenful
from pipeline.review.tiles import Conflict, Given, Tile, tiles_of
from pipeline.review.undo import taken_back

SCREENFUL = 24


class Desk:
    """The album and the answers of a run; thread-safe.

    Args:
        album: the images.
        log: the answers.
        elsewhere: what was decided in other places; None: nothing.
        audit: ids of the images whose truth is asked for, in this order; None where answers are to
            teach.
    """

    def __init__(
        self,
        album: Album,
        log: AnswerLog,
        elsewhere: Elsewhere | None = None,
        audit: Sequence[str] | None = None,
    ) -> None:
        self.album, self.log = album, log
        self.edition = 1  # one more with every album
        self.note: str | None = None  # what is wrong with new labels, in sentences
        self.shown = threading.Event()  # somebody has been shown the first images
        self._purpose: Purpose = "teach" if audit is None else "audit"
        self._drawn = None if audit is None else tuple(audit)
        self._elsewhere = elsewhere
        self._before: Album | None = None
        self._lock = threading.RLock()
        self._counted: tuple[int, int, list[str]] = (-1, 0, [])
        self._begun = len(log.history)
        self._taken = log.begun, 0  # of which reading of the log, and how many of its answers
        self._take_new()

    def adopt(self, album: Album, elsewhere: Elsewhere | None) -> None:
        """Go on with the album of a new labeling; answers stay, and what is shown of the album
        before can still be answered about."""
        with self._lock:
            self._before, self.album, self._elsewhere = self.album, album, elsewhere
            self.edition += 1
            self._taken = self.log.begun, 0
            self._take_new()

    def decided_anew(self, elsewhere: Elsewhere) -> None:
        """Take other decisions of other places."""
        with self._lock:
            self._elsewhere = elsewhere

    @property
    def audit(self) -> list[str] | None:
        """The ids of what was drawn for an audit and is here; None: it is none."""
        if self._drawn is None:
            return None
        here = self.album.row_of.find(self._drawn) >= 0
        return [one for one, there in zip(self._drawn, here, strict=True) if there]

    @property
    def classes(self) -> list[str]:
        """The classes, and after them those that people have named in their answers."""
        known = self.album.classes
        return [*known, *(name for name in self._count()[1] if name not in known)]

    @property
    def answered(self) -> int:
        """How many images have an answer."""
        if (audit := self.audit) is not None:
            return len(audit) - len(self._left(audit))
        return self._count()[0]

    def path(self, image_id: str) -> str | None:
        """Return where an image lies; None where it is none of the run's."""
        known = (self.album, self._before)
        found = (album.path(image_id) for album in known if album is not None)
        return next((path for path in found if path is not None), None)

    def catch_up(self) -> None:
        """Take what other processes have answered since."""
        with self._lock:
            self.log.refresh()
            self._take_new()

    def screen(self, wanted: Wanted, size: int = SCREENFUL) -> list[Tile]:
        """Return what to ask next, see `pipeline.review.order.screenful`."""
        self.catch_up()
        album = self.album
        return self._tiles(album, screenful(album, wanted, size))

    def chosen(self, wanted: Wanted, ids: Sequence[str]) -> list[Tile]:
        """Return those of some images that are wanted and open, in their order."""
        self.catch_up()
        album = self.album
        open_ = album.rows(wanted)
        rows = album.row_of.find(ids)
        return self._tiles(album, rows[np.isin(rows, open_)])

    def drawn(self, size: int = SCREENFUL) -> list[Tile]:
        """Return the next images of an audit that nobody has answered about."""
        self.catch_up()
        return self.tiles(self._left(self.audit or ())[:size])

    def listed(
        self, wanted: Wanted, closed: bool | None, start: int, size: int = SCREENFUL
    ) -> list[Tile]:
        """Return a page of a list, see `pipeline.review.order.most_doubtful`."""
        self.catch_up()
        album = self.album
        return self._tiles(album, most_doubtful(album, wanted, closed, start, size))

    def like(
        self,
        wanted: Wanted,
        closed: bool | None,
        vector: np.ndarray,
        start: int,
        size: int = SCREENFUL,
    ) -> list[Tile]:
        """Return a page of a list, see `pipeline.review.order.most_alike`.

        Raises:
            Clip2YoloError: vectors are not there.
        """
        self.catch_up()
        album = self.album
        return self._tiles(album, most_alike(album, wanted, closed, vector, start, size))

    def tiles(self, ids: Sequence[str]) -> list[Tile]:
        """Return the tiles of some images, of those that are here."""
        album = self.album
        rows = album.row_of.find(ids)
        return self._tiles(album, rows[rows >= 0])

    def _tiles(self, album: Album, rows: np.ndarray) -> list[Tile]:
        tiles = tiles_of(album, self.log, rows, self._purpose)
        self.shown.set()
        if self._elsewhere is not None:
            self._elsewhere.begin()
        return tiles

    def take(self, given: Sequence[Given], who: str) -> tuple[str, list[Conflict]]:
        """Write answers; when this returns they are on the disk.

        Returns:
            The name of this act, and what others had answered about the same images since they
            were shown.

        Raises:
            ConfigError: one is about an image that is none of the run's, or names a class that
                cannot be one; or what was decided elsewhere cannot be used.
            WorkspaceError, OSError: nothing can be written.
        """
        drawn = None if self._drawn is None else set(self._drawn)
        for one in given:
            if self.path(one.id) is None:
                raise ConfigError(f"The image {one.id[:80]!r} is none of this run.")
            if drawn is not None and one.id not in drawn:
                raise ConfigError(f"The image {one.id[:80]!r} is none of this audit.")
            if one.class_name is not None and one.class_name not in self.album.classes:
                check_class_name(one.class_name)
        act = uuid.uuid4().hex
        decided = self._decided([one.id for one in given])
        with self._lock:
            self.catch_up()
            at = now()
            conflicts = []
            for one in given:
                last = self.log.last(one.id, self._purpose)
                if last is None or last.kind == "withdrawn" or last.who == who:
                    continue
                if last.act != (one.seen or ""):
                    conflicts.append(Conflict(one.id, last.kind, last.class_name))
            self.log.add(
                [
                    Answer(
                        id=one.id,
                        kind=one.kind,
                        class_name=one.class_name,
                        purpose=self._purpose,
                        who=who,
                        at=at,
                        over=decided.get(one.id),
                        act=act,
                    )
                    for one in given
                ]
            )
            self._take_new()
        return act, conflicts

    def undo(self, who: str, before: bool = False) -> tuple[list[str], int]:
        """Take back the last act of somebody that is not taken back yet.

        What somebody else has answered since stays as it is.

        Args:
            who: somebody.
            before: take back the last act of anybody from before the page was opened: who goes on
                after a crash has another name.

        Returns:
            The ids of the images whose earlier state is there again, and how many were left as
            somebody else's answer.

        Raises:
            ConfigError: what was decided elsewhere cannot be used.
            WorkspaceError, OSError: nothing can be written.
        """
        with self._lock:
            self.catch_up()
            history = [a for a in self.log.history if a.purpose == self._purpose]
            earlier = {a.act for a in self.log.history[: self._begun]} if before else set()
            mended, theirs = taken_back(
                history, lambda a: a.act in earlier if before else a.who == who, who, self._decided
            )
            if mended:
                self.log.add(mended)
                self._take_new()
            return [answer.id for answer in mended], theirs

    def decisions(self, album: Album) -> dict[str, str]:
        """Return image id → class, of all that people decided about an album's images and in its
        classes, as the label stage takes it."""
        decided = {} if self._elsewhere is None else self._elsewhere.all()
        with self._lock:
            found = heard(self.log, decided, album.ids, album.classes).decided
        return {one: name for one, name in found.items() if name in album.classes}

    def _decided(self, ids: Sequence[str]) -> Mapping[str, str]:
        """What was decided elsewhere about some images, and maybe about others."""
        return {} if self._elsewhere is None else self._elsewhere.of(ids)

    def _left(self, audit: Sequence[str]) -> list[str]:
        """What is open of an audit."""
        last = {one: self.log.last(one, "audit") for one in audit}
        return [one for one, said in last.items() if said is None or said.kind == "withdrawn"]

    def _count(self) -> tuple[int, list[str]]:
        """How many images have an answer that teaches, and the classes that people named; counted
        once for every answer, as there may be many."""
        with self._lock:
            if self._counted[0] != len(self.log.history):
                taught = self.log.taught.values()
                named = dict.fromkeys(said.class_name for said in taught if said.class_name)
                self._counted = len(self.log.history), len(taught), list(named)
            return self._counted[1:]

    def _take_new(self) -> None:
        """Note in the album what is answered and what is open again, by answers that are new."""
        begun, start = self._taken
        if begun != self.log.begun:  # somebody has put another file into its place
            self.album.open_all()
            start = 0
        answers = self.log.history[start:]
        self._taken = self.log.begun, len(self.log.history)
        if not answers:
            return
        teaching = {a.id: a.kind != "withdrawn" for a in answers if a.purpose == "teach"}
        closed = [one for one, stands in teaching.items() if stands]
        open_ = [one for one, stands in teaching.items() if not stands]
        self.album.close(closed)
        if open_:
            # What tables decided stays closed. Files that were moved since are open as they were.
            decided = {} if self._elsewhere is None else self._elsewhere.written()
            self.album.close([one for one in open_ if one not in decided], closed=False)
        # What measures is not asked about for teaching, or it would teach.
        self.album.close(list(self.log.audited))
