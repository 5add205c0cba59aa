"""What a request must hold to be taken, and the sentences for those that do not."""

from __future__ import annotations

from typing import Any, get_args

from pipeline.labels.answers import Kind
from pipeline.review.tiles import Given

_MOST_ANSWERS = 1000  # at one stroke
_LONGEST_NAME = 80  # letters


class Refused(Exception):
    """A request that cannot be answered, with the sentence for whoever sent it."""


def answers_of(body: Any) -> tuple[str, list[Given]]:
    """Return who answers, and what.

    Raises:
        Refused: that is not what the page sends.
    """
    try:
        who, given = body["who"], body["answers"]
        answers = [Given(one["id"], one["kind"], one["class"], one["seen"]) for one in given]
    except (TypeError, KeyError):
        raise Refused("An answer has who, and answers of id, kind, class and seen.") from None
    if not 0 < len(answers) <= _MOST_ANSWERS or not _is_name(who):
        raise Refused(f"Up to {_MOST_ANSWERS:,} answers are taken at once, from somebody.")
    for one in answers:
        texts = [one.id, one.kind, one.class_name or "", one.seen or ""]
        if not all(map(_is_text, texts)) or one.kind not in get_args(Kind):
            raise Refused("An answer is a class, none, skip or withdrawn.")
        if (one.kind == "class") != bool(one.class_name):
            raise Refused("A class needs its name, and nothing else has one.")
    return who, answers


def who_of(body: Any) -> str:
    """Return who takes something back.

    Raises:
        Refused: nobody says so.
    """
    who = body.get("who") if isinstance(body, dict) else None
    if not _is_name(who):
        raise Refused("To undo, say who you are.")
    return str(who)


def _is_name(who: Any) -> bool:
    return _is_text(who) and 0 < len(who) <= _LONGEST_NAME


def _is_text(value: Any) -> bool:
    """Whether it is text that can be written: half of a surrogate pair cannot."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False
