"""What is asked and what was answered: the page's questions to the album and to the answers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.class_names import check_class_name
from pipeline.errors import Clip2YoloError, ConfigError
from pipeline.labels.answers import Answer, AnswerLog, Kind, Purpose, heard, now
from pipeline.review.album import Album, Wanted
from pipeline.review.undo import taken_back

SCREENFUL = 24
_BLOCK = 20_000  # vectors compared at a time

# ids → unit vectors (n, dim); None where the teacher gives none
Vectors = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Tile:
    """One image of a screenful."""

    id: str
    guess: str | None  # the class that the image is called; None in an audit, which must not tell
    doubt: float | None  # likewise
    moved: bool
    place: str  # the file's name, for people
    answer: str | None  # what stands of the answers: a class
    kind: str | None  # the answer's kind; None: there is none
    act: str | None  # the answer's act


@dataclass(frozen=True)
class Given:
    """An answer as it comes from the page."""

    id: str
    kind: Kind
    class_name: str | None
    seen: str | None  # `act` of the answer that the page showed for it; None: none


@dataclass(frozen=True)
class Conflict:
    """An image that somebody else had answered about meanwhile; the last answer stands."""

    id: str
    kind: str
    class_name: str | None


class Desk:
    """The album and the answers of a run; thread-safe.

    Args:
        album: the images.
        log: the answers.
        decided: image id → class, by the other tables of decisions.
        vectors: tells what is alike; None where nothing does.
        audit: ids of the images whose truth is asked for, in this order; None where answers are to
            teach.
    """

    def __init__(
        self,
        album: Album,
        log: AnswerLog,
        decided: Mapping[str, str] | None = None,
        vectors: Vectors | None = None,
        audit: Sequence[str] | None = None,
    ) -> None:
        self.album, self.log, self.vectors = album, log, vectors
        self.audit = None if audit is None else tuple(one for one in audit if one in album.row_of)
        self._purpose: Purpose = "teach" if audit is None else "audit"
        self._decided = decided or {}
        self._lock = threading.RLock()
        self._take(log.history)

    @property
    def classes(self) -> list[str]:
        """The classes, and after them those that people have named in their answers."""
        with self._lock:
            named = {answer.class_name: None for answer in self.log.taught.values()}
        return [*self.album.classes, *(n for n in named if n and n not in self.album.classes)]

    @property
    def answered(self) -> int:
        """How many images have an answer."""
        with self._lock:
            if self.audit is not None:
                return len(self.audit) - len(self._left())
            return len(self.log.taught)

    def catch_up(self) -> None:
        """Take what other processes have answered since."""
        with self._lock:
            self._take(self.log.refresh())

    def screen(self, wanted: Wanted, size: int = SCREENFUL) -> list[Tile]:
        """Return what to ask next: the most doubtful open image that is wanted, and those that are
        called the same and look most like it, alike beside alike."""
        self.catch_up()
        rows = self.album.rows(wanted)
        if not len(rows):
            return []
        seed = self.album.most_doubtful(rows)
        some = self.album.candidates(rows, seed)
        try:
            known = _apart(self.vectors_of(some))
            order = np.argsort(-(known @ known[int(np.searchsorted(some, seed))]), kind="stable")
        except Clip2YoloError:  # without vectors, by doubt alone
            order = np.argsort(-self.album.doubt[some], kind="stable")
        return self.tiles(some[order[:size]])

    def chosen(self, wanted: Wanted, ids: Sequence[str]) -> list[Tile]:
        """Return those of some images that are wanted and open, in their order."""
        self.catch_up()
        open_ = set(self.album.rows(wanted).tolist())
        rows = [self.album.row_of[one] for one in ids]
        return self.tiles([row for row in rows if row in open_])

    def drawn(self, size: int = SCREENFUL) -> list[Tile]:
        """Return the next images of an audit that nobody has answered about."""
        self.catch_up()
        return self.tiles([self.album.row_of[one] for one in self._left()[:size]])

    def _left(self) -> list[str]:
        """What is open of an audit."""
        last = {one: self.log.last(one, "audit") for one in self.audit or ()}
        return [one for one, said in last.items() if said is None or said.kind == "withdrawn"]

    def listed(
        self, wanted: Wanted, closed: bool | None, start: int, size: int = SCREENFUL
    ) -> list[Tile]:
        """Return a page of all that is wanted, the most doubtful first.

        Args:
            closed: True: what was answered; False: what is open; None: both.
            start: number of the first.
        """
        self.catch_up()
        rows = self.album.rows(wanted, closed)
        order = np.argsort(-self.album.doubt[rows], kind="stable")
        return self.tiles(rows[order[start : start + size]])

    def like(
        self,
        wanted: Wanted,
        closed: bool | None,
        vector: np.ndarray,
        start: int,
        size: int = SCREENFUL,
    ) -> list[Tile]:
        """Return a page of all that is wanted, the most alike to a unit vector (dim,) first.

        Raises:
            Clip2YoloError: vectors are not there.
        """
        self.catch_up()
        rows = self.album.rows(wanted, closed)
        alike = np.empty(len(rows), np.float32)
        for first in range(0, len(rows), _BLOCK):
            some = rows[first : first + _BLOCK]
            alike[first : first + _BLOCK] = self.vectors_of(some) @ vector
        return self.tiles(rows[np.argsort(-alike, kind="stable")[start : start + size]])

    def vectors_of(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the unit vectors (n, dim) of some rows.

        Raises:
            Clip2YoloError: they are not there.
        """
        if self.vectors is None:
            raise Clip2YoloError("This teacher gives no vectors, so nothing can be compared.")
        try:
            return self.vectors([self.album.ids[int(row)] for row in rows])
        except KeyError:
            raise Clip2YoloError(
                "The cache lacks vectors of these images; they are being computed."
            ) from None

    def tiles(self, rows: Sequence[int] | np.ndarray) -> list[Tile]:
        """Return the tiles of some rows."""
        found = []
        for row in map(int, rows):
            image_id = self.album.ids[row]
            answer = self.log.last(image_id, self._purpose)
            stands = answer is not None and answer.kind != "withdrawn"
            found.append(
                Tile(
                    id=image_id,
                    guess=self.album.name_of(row) if self.audit is None else None,
                    doubt=round(float(self.album.doubt[row]), 3) if self.audit is None else None,
                    moved=bool(self.album.moved[row]) and self.audit is None,
                    place=self.album.paths[row].replace("\\", "/").rsplit("/", 1)[-1],
                    answer=answer.class_name if answer is not None and stands else None,
                    kind=answer.kind if answer is not None and stands else None,
                    act=answer.act if answer is not None and stands else None,
                )
            )
        return found

    def take(self, given: Sequence[Given], who: str) -> tuple[str, list[Conflict]]:
        """Write answers; when this returns they are on the disk.

        Returns:
            The name of this act, and what others had answered about the same images since they
            were shown.

        Raises:
            ConfigError: one is about an image that is none of the run's, or names a class that
                cannot be one.
            WorkspaceError, OSError: nothing can be written.
        """
        for one in given:
            if one.id not in self.album.row_of:
                raise ConfigError(f"The image {one.id[:80]!r} is none of this run.")
            if self.audit is not None and one.id not in self.audit:
                raise ConfigError(f"The image {one.id[:80]!r} is none of this audit.")
            if one.class_name is not None and one.class_name not in self.album.classes:
                check_class_name(one.class_name)
        act, at = uuid.uuid4().hex, now()
        with self._lock:
            self.catch_up()
            conflicts = []
            for one in given:
                last = self.log.last(one.id, self._purpose)
                if last is None or last.kind == "withdrawn" or last.who == who:
                    continue
                if last.act != (one.seen or ""):
                    conflicts.append(Conflict(one.id, last.kind, last.class_name))
            before = len(self.log.history)
            self.log.add(
                [
                    Answer(
                        id=one.id,
                        kind=one.kind,
                        class_name=one.class_name,
                        purpose=self._purpose,
                        who=who,
                        at=at,
                        over=self._decided.get(one.id),
                        act=act,
                    )
                    for one in given
                ]
            )
            self._take(self.log.history[before:])
        return act, conflicts

    def undo(self, who: str) -> tuple[list[str], int]:
        """Take back the last act of somebody that is not taken back yet.

        What somebody else has answered since stays as it is.

        Returns:
            The ids of the images whose earlier state is there again, and how many were left as
            somebody else's answer.
        """
        with self._lock:
            self.catch_up()
            history = [a for a in self.log.history if a.purpose == self._purpose]
            mended, theirs = taken_back(history, who, self._decided)
            if mended:
                start = len(self.log.history)
                self.log.add(mended)
                self._take(self.log.history[start:])
            return [answer.id for answer in mended], theirs

    def decisions(self) -> dict[str, str]:
        """Return image id → class, of all that people decided, as the label stage takes it."""
        with self._lock:
            return heard(self.log, self._decided, self.album.ids, self.album.classes).decided

    def _take(self, answers: Sequence[Answer]) -> None:
        """Note in the album what is answered and what is open again."""
        teaching = {a.id: a.kind != "withdrawn" for a in answers if a.purpose == "teach"}
        # What measures is not asked about for teaching, or it would teach.
        closed = [one for one, stands in teaching.items() if stands]
        open_ = [one for one, stands in teaching.items() if not stands]
        self.album.close(closed)
        self.album.close([one for one in open_ if one not in self._decided], closed=False)
        self.album.close(list(self.log.audited))


def _apart(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors (n, dim) without the direction that all of them share, which tells nothing of
    what is alike (Liang et al., 2022); as they are where nothing else is left of them."""
    rest = vectors - vectors.mean(axis=0)
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    return vectors if (length < 1e-6).any() else rest / length
