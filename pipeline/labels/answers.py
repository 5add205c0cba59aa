"""What people answered about single images: `answers.jsonl`, one line an answer, only added to.

The last answer about an image stands, and all of them are kept. Answers with the purpose "teach"
are decisions, for the label stage. Those with the purpose "audit" are truth: such an image measures
and never teaches, whatever else was said of it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock, Timeout

from pipeline.errors import WorkspaceError
from pipeline.files import naming

Kind = Literal["class", "none", "skip", "withdrawn"]
Purpose = Literal["teach", "audit"]

_PATIENCE = 20.0  # seconds to wait for another process that is writing


@dataclass(frozen=True)
class Answer:
    """What a person said of one image."""

    id: str  # of the image
    kind: Kind  # "none": of no class; "skip": not to say; "withdrawn": what was said is taken back
    class_name: str | None  # where `kind` is "class"
    purpose: Purpose = "teach"
    who: str = ""  # a name, or what tells one session from another
    at: str = ""  # ISO 8601, UTC
    # The class that review.csv and its like gave the image at that time: where they give another
    # one now, it is the newer decision.
    over: str | None = None
    act: str = ""  # names what was answered at one stroke, so that it can be undone as one

    def as_line(self) -> str:
        """Return the line of the file, without its end."""
        known = {"id": self.id, "kind": self.kind, "class": self.class_name}
        known |= {"purpose": self.purpose, "who": self.who, "at": self.at, "over": self.over}
        return json.dumps(known | {"act": self.act}, ensure_ascii=True)


def now() -> str:
    """Return the time as answers give it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


class AnswerLog:
    """The answers of a run as far as they have been read; other processes may be adding to them.

    Args:
        path: `answers.jsonl`, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = 1  # how often it has been read from its beginning
        self._begin()

    def _begin(self) -> None:
        self.history: list[Answer] = []
        self.damaged = 0  # lines that are no answer: torn by a crash or a full disk
        self._file = 0  # its number in the file system
        self._last: dict[Purpose, dict[str, Answer]] = {"teach": {}, "audit": {}}
        self._read = 0  # bytes

    @property
    def taught(self) -> Mapping[str, Answer]:
        """Image id → what stands of it, for teaching; nothing of what was audited or skipped."""
        audited = self.audited
        return {
            one: answer
            for one, answer in self._last["teach"].items()
            if answer.kind in ("class", "none") and one not in audited
        }

    @property
    def audited(self) -> Mapping[str, Answer]:
        """Image id → the truth: what stands of the answers that measure."""
        return {
            one: answer
            for one, answer in self._last["audit"].items()
            if answer.kind in ("class", "none")
        }

    def last(self, image_id: str, purpose: Purpose = "teach") -> Answer | None:
        """Return the last line about an image; None where there is none."""
        return self._last[purpose].get(image_id)

    def notes(self) -> list[str]:
        """Return what a person should know of the file, in sentences."""
        if not self.damaged:
            return []
        lines = "1 line is" if self.damaged == 1 else f"{self.damaged:,} lines are"
        return [f"{self.path}: {lines} no answer and passed over; the others are taken."]

    def refresh(self) -> list[Answer]:
        """Read what was added since, and return it. A last line without an end is left until it
        has one: somebody may be writing it."""
        try:
            with naming(self.path), self.path.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_size < self._read or state.st_ino != (self._file or state.st_ino):
                    self._begin()  # another file took its place
                    self.begun += 1
                self._file = state.st_ino
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        fresh = []
        for line in whole.split(b"\n"):
            if not line.strip():
                continue
            answer = _answer_of(line)
            if answer is None:
                self.damaged += 1
                continue
            fresh.append(answer)
            self._last[answer.purpose][answer.id] = answer
        self.history += fresh
        return fresh

    def add(self, answers: Sequence[Answer]) -> None:
        """Write answers and return when they are on the disk; what others wrote is read, too.

        Raises:
            WorkspaceError: another process holds the file for too long.
            OSError: the disk takes no more; none of the answers is in the file.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=_PATIENCE)
        try:
            lock.acquire()
        except Timeout:
            raise WorkspaceError(
                f"{self.path} has been held by another process for {_PATIENCE:.0f} seconds. End "
                "it, and answer again."
            ) from None
        try:
            with naming(self.path), self.path.open("ab+", buffering=0) as file:
                text = "".join(answer.as_line() + "\n" for answer in answers)
                if (size := file.tell()) and _last_byte(file) != b"\n":
                    text = "\n" + text  # a torn line stays alone
                try:
                    _write(file, text.encode())
                except OSError:
                    file.truncate(size)  # all of them or none: nobody is told of a part
                    raise
            if not size:
                _keep_name(self.path.parent)
        finally:
            lock.release()
        self.refresh()


def read_answers(path: Path) -> AnswerLog:
    """Return the answers of a run; no file is no answer."""
    log = AnswerLog(path)
    log.refresh()
    return log


@dataclass(frozen=True)
class Heard:
    """What people decided, wherever they did."""

    decided: dict[str, str]  # image id → class; nothing of what was audited
    answered: list[str]  # ids of those that an answer decided
    nothing: list[str]  # ids of images that are of no class, by an answer
    notes: list[str]  # sentences


def heard(
    log: AnswerLog, elsewhere: Mapping[str, str], ids: Iterable[str | None], classes: Sequence[str]
) -> Heard:
    """Return what people decided in the review page and elsewhere; the newest decision wins.

    An answer is newer than another table's class if that stood there when it was given (`over`),
    and older if the table gives another class by now.

    Args:
        log: the answers.
        elsewhere: image id → class, by the tables of decisions.
        ids: of all images of the run; None for those that cannot be read.
        classes: of the ontology.
    """
    audited, here = log.audited, set(ids)
    decided = {one: name for one, name in elsewhere.items() if one not in audited}
    answered, nothing, absent = [], [], 0
    unknown: dict[str, int] = {}
    for one, answer in log.taught.items():
        if one not in here:
            absent += 1
        elif elsewhere.get(one) not in (None, answer.over):
            continue
        elif answer.class_name is not None and answer.class_name in classes:
            decided[one] = answer.class_name
            answered.append(one)
        else:
            # Of a class that the ontology lacks, an image is of none that it has.
            decided.pop(one, None)
            nothing.append(one)
            if answer.class_name is not None:
                unknown[answer.class_name] = unknown.get(answer.class_name, 0) + 1
    notes = log.notes()
    if absent:
        answers = "1 answer is" if absent == 1 else f"{absent:,} answers are"
        notes.append(f"{answers} about images that are not here; they are kept for when they are.")
    for name, count in unknown.items():
        images = "1 image is" if count == 1 else f"{count:,} images are"
        notes.append(
            f"{images} of the class {name!r} by the review page, and the ontology does not have "
            "it. Add a prompt or examples of it to the config; until then they get no label."
        )
    return Heard(decided, answered, nothing, notes)


def _write(file: Any, data: bytes) -> None:
    """Write all of the bytes; they are on the disk when this returns."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _keep_name(folder: Path) -> None:
    """Have a new file's name on the disk, too, where a system lets folders be asked for that."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    found: bytes = file.read(1)
    return found


def _answer_of(line: bytes) -> Answer | None:
    """The answer that a line holds; None where it is none."""
    try:
        known = json.loads(line)
        texts = [known[key] for key in ("id", "kind", "purpose")]
        texts += [known.get(key, "") for key in ("who", "at", "act")]
        name, over = known["class"], known.get("over")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    fits = all(isinstance(text, str) for text in texts)
    fits = fits and all(text is None or isinstance(text, str) for text in (name, over))
    image_id, kind, purpose, who, at, act = texts
    if not fits or kind not in get_args(Kind) or purpose not in get_args(Purpose):
        return None
    if not image_id or (kind == "class") != bool(name):
        return None
    try:
        "".join([*texts, name or "", over or ""]).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which nobody can write
        return None
    return Answer(image_id, kind, name, purpose, who, at, over, act)
