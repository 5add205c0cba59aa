"""One file after the other: its hash, and whether its header can be read.

A file that was written in the moment it was hashed is not believed the next time, as in git's
index: it may have been written again within the same tick of the clock.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import SourceError
from pipeline.files import RACY
from pipeline.pixels import check_header
from pipeline.records import IMAGES
from pipeline.storage.address import entry_of, is_file_place
from pipeline.storage.filesystems import State, state_of
from pipeline.storage.reading import read_each

# Begin what may be otherwise the next time, with the same bytes.
_NOT_READ = ("It cannot be read", "It could not be read")


def state_at(path: str, told: Mapping[str, State]) -> tuple[int, int] | None:
    """Size and modification time; None where the file, or its name, needs a closer look."""
    try:
        path.encode("utf-8")
        if is_file_place(path):
            state = os.stat(path)
            return state.st_size, state.st_mtime_ns
        known = told.get(path)
        if known is None and entry_of(path) is None:
            known = state_of(path)
    except (OSError, ValueError, SourceError):
        return None
    return None if known is None else (known.size, known.changed_ns)


@dataclass(frozen=True)
class Group:
    """Files that are looked at together."""

    places: list[str]
    before: list[dict[str, Any] | None]  # the unreadable row of each that is unchanged
    told: dict[str, State]  # what is known already of objects in a store


def look_at(group: Group, max_pixels: int) -> list[dict[str, Any]]:
    """Hash files and look at their headers: a row for each, of the schema `records.IMAGES`."""
    states = [state_at(path, group.told) for path in group.places]  # before the bytes are read
    answers = read_each(group.places)
    found = []
    for path, state, row, data in zip(group.places, states, group.before, answers, strict=True):
        about: dict[str, Any] = {}
        if state is not None:
            fresh = time.time_ns() - state[1] < RACY
            about = {"bytes": state[0], "mtime_ns": None if fresh else state[1]}
        found.append(looked_at(path, data, about, row, max_pixels))
    return found


def looked_at(
    path: str,
    data: bytes | Exception,
    about: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    max_pixels: int,
) -> dict[str, Any]:
    """Return the row of a file of the schema `records.IMAGES`.

    Args:
        path: its place.
        data: what lies there, or why that cannot be read.
        about: columns that are known already.
        before: its unreadable row, where it is unchanged.
    """
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    row: dict[str, Any] = dict.fromkeys(IMAGES) | {"path": shown, "status": "unreadable"}
    if shown != path:
        return row | {"reason": "Its name is not valid UTF-8; rename it."}
    if isinstance(data, Exception):
        return row | unreadable(path, data)
    row |= {"bytes": len(data), **about}
    try:
        row["id"] = before["id"] if before else hashlib.sha256(data).hexdigest()
        check_header(data, max_pixels)
        if before is not None and _is_lasting(before["reason"] or ""):
            return row | {"reason": before["reason"]}
    except SourceError as error:
        return row | {"reason": str(error)}
    except MemoryError:
        return row | {"reason": "It is too large for the memory."}
    return row | {"status": "ok"}


def _is_lasting(reason: str) -> bool:
    """Whether what was wrong with the same bytes is wrong with them still."""
    return "max_pixels" not in reason and not reason.startswith(_NOT_READ)


def unreadable(path: str, error: Exception) -> dict[str, Any]:
    """Return the columns that say why a place cannot be read."""
    if isinstance(error, OSError):
        reason = _os_reason(error)
    elif isinstance(error, MemoryError):
        reason = "It is too large for the memory."
    else:
        reason = str(error) if isinstance(error, SourceError) else "No file can have such a name."
    return {"path": path, "status": "unreadable", "reason": reason}


def _os_reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "There is no such file."
    if isinstance(error, PermissionError):
        return "Reading it is not permitted."
    return f"{_NOT_READ[0]} ({error.strerror or type(error).__name__})."
