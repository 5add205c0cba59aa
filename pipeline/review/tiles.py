"""What passes between the page and the desk: what is shown of an image, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.labels.answers import AnswerLog, Kind, Purpose
from pipeline.review.album import Album


@dataclass(frozen=True)
class Tile:
    """One image of a screenful."""

    id: str
    guess: str | None  # the class that the image is called; None in an audit, which must not tell
    doubt: float | None  # likewise
    plain: str | None  # the class by the words alone, where that is another
    unlike: float | None  # how little it fits any class, 0 to 1
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


def tiles_of(album: Album, log: AnswerLog, rows: Iterable[int], purpose: Purpose) -> list[Tile]:
    """Return the tiles of some rows of an album, with the answers of one purpose."""
    hidden, tiles = purpose == "audit", []
    for row in map(int, rows):
        image_id = album.ids[row]
        answer = log.last(image_id, purpose)
        if answer is not None and answer.kind == "withdrawn":
            answer = None
        guess, plain = album.name_of(row), album.plain_of(row)
        tiles.append(
            Tile(
                id=image_id,
                guess=None if hidden else guess,
                plain=None if hidden or plain == guess else plain,
                unlike=None if hidden else round(float(album.unlike[row]), 3),
                doubt=None if hidden else round(float(album.doubt[row]), 3),
                moved=bool(album.moved[row]) and not hidden,
                place=album.paths[row].replace("\\", "/").rsplit("/", 1)[-1],
                answer=None if answer is None else answer.class_name,
                kind=None if answer is None else answer.kind,
                act=None if answer is None else answer.act,
            )
        )
    return tiles
