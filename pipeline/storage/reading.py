"""The bytes at places of any sort: one at a time, or many fetched side by side."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import SourceError
from pipeline.storage.address import Cell, Member, Place, entry_of, is_address, is_file_place
from pipeline.storage.filesystems import State, fetched, opened, state_of

_TOGETHER = 32  # places fetched side by side
_GAP = 64 << 10  # bytes between two wanted parts of an object up to which they are one request
_MOST = 32 << 20  # bytes of one request for several parts
_BLOCK = 8 << 20  # bytes of a shard read at a time
_GROUPS = 2  # parts of Parquet files that are held, as the rows of one are asked for in turn

Part = tuple[str, int | None, int | None]  # address, first byte, the byte after the last


def read_bytes(place: Place) -> bytes:
    """Return the bytes at a place.

    Raises:
        OSError: as for a file, also where an object is not there or may not be read.
        SourceError: a store or a shard cannot be read.
        ConfigError: what reading it needs is not installed.
    """
    if isinstance(place, Path) or is_file_place(place):
        return Path(place).read_bytes()
    (answer,) = read_each([place])
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextlib.contextmanager
def as_file(place: Place) -> Iterator[Path]:
    """Yield a file with the bytes at a place: itself where it is one, else one for the block alone.

    Raises:
        OSError, SourceError, ConfigError: as `read_bytes`.
    """
    if is_file_place(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="clip2yolo-") as folder:
        file = Path(folder) / "image"
        file.write_bytes(read_bytes(place))
        yield file


def read_each(places: Sequence[str], most: int | None = None) -> Iterator[bytes | Exception]:
    """Yield the bytes at one place after the other, or what `read_bytes` would raise.

    Files are read as their turn comes; objects are fetched some at a time, side by side, and
    neighbours in a shard with one request.

    Args:
        most: bytes of each that are wanted, from its first; by default all.
    """
    for start in range(0, len(places), _TOGETHER):
        some = places[start : start + _TOGETHER]
        parts = {place: part for place in some if (part := _part_of(place, most)) is not None}
        known = dict(zip(parts, _fetch(list(parts.values())), strict=True))
        for place in some:
            if place in known:
                yield known[place]
                continue
            try:
                yield _read_here(place, most)
            except (OSError, SourceError, ValueError, MemoryError) as error:
                yield error


def _part_of(place: str, most: int | None) -> Part | None:
    """What to fetch for a place in a store; None for what is read otherwise."""
    entry = entry_of(place)
    if isinstance(entry, Member):
        size = entry.size if most is None else min(most, entry.size)
        return (entry.shard, entry.start, entry.start + size) if is_address(entry.shard) else None
    if entry is not None or not is_address(place):
        return None
    return (place, None, None) if most is None else (place, 0, most)


def _fetch(parts: Sequence[Part]) -> list[bytes | Exception]:
    """Fetch parts of objects, near ones of the same object together."""
    joint: list[Part] = []
    of_part = []
    for address, start, end in parts:
        last = joint[-1] if joint else ("", None, None)
        near = (
            last[0] == address
            and start is not None
            and end is not None
            and last[1] is not None
            and last[2] is not None
            and last[1] <= start <= last[2] + _GAP
            and end - last[1] <= _MOST
        )
        if near:
            joint[-1] = (address, last[1], max(last[2] or 0, end or 0))
        else:
            joint.append((address, start, end))
        of_part.append(len(joint) - 1)
    answers: list[bytes | Exception] = [b""] * len(joint)
    stores: dict[str, list[int]] = {}
    for number, (address, _, _) in enumerate(joint):
        stores.setdefault(address.partition("://")[0], []).append(number)
    for numbers in stores.values():
        asked = [joint[number] for number in numbers]
        found = fetched(*map(list, zip(*asked, strict=True)))
        for number, answer in zip(numbers, found, strict=True):
            answers[number] = answer
    return [
        _cut(answers[number], joint[number][1], start, end)
        for number, (_, start, end) in zip(of_part, parts, strict=True)
    ]


def _cut(
    answer: bytes | Exception, first: int | None, start: int | None, end: int | None
) -> bytes | Exception:
    if isinstance(answer, Exception) or start is None or end is None or first is None:
        return answer
    return answer[start - first : end - first]


def _read_here(place: str, most: int | None) -> bytes:
    entry = entry_of(place)
    if isinstance(entry, Cell):
        return read_cell(entry)[:most]
    path, start, size = (place, 0, -1 if most is None else most)
    if entry is not None:
        path, start = entry.shard, entry.start
        size = entry.size if most is None else min(most, entry.size)
    with Path(path).open("rb") as file:
        file.seek(start)
        return file.read(size)


def open_shard(shard: str) -> Any:
    """Open a file or an object for reading from its beginning on.

    Raises:
        OSError, SourceError: as `read_bytes`.
    """
    return opened(shard, _BLOCK) if is_address(shard) else Path(shard).open("rb")


def shard_state(shard: str) -> State:
    """Return size and time of a file or an object.

    Raises:
        OSError, SourceError: as `read_bytes`.
    """
    if is_address(shard):
        return state_of(shard)
    state = Path(shard).stat()
    return State(state.st_size, state.st_mtime_ns)


def read_cell(cell: Cell) -> bytes:
    """Return the bytes in a cell of a Parquet file.

    Raises:
        OSError, SourceError: as `read_bytes`; or there is no such cell, or nothing in it.
    """
    from pipeline.storage.tables import bytes_in

    state = shard_state(cell.shard)
    number, first = _group_of(cell.shard, state, cell.row)
    found = bytes_in(_group(cell.shard, state, cell.column, number), cell.row - first)
    if found is None:
        raise SourceError("The cell is empty.")
    return found


@functools.lru_cache(maxsize=_GROUPS)
def _group(shard: str, state: State, column: str, number: int) -> Any:
    from pipeline.storage.tables import read_group

    with open_shard(shard) as file:
        return read_group(file, shard, column, number)


@functools.lru_cache(maxsize=4)
def _starts(shard: str, state: State) -> list[int]:
    from pipeline.storage.tables import group_starts

    with open_shard(shard) as file:
        return group_starts(file, shard)


def _group_of(shard: str, state: State, row: int) -> tuple[int, int]:
    """The part of a file that a row is in, and that part's first row."""
    starts = _starts(shard, state)
    number = max((n for n, start in enumerate(starts) if start <= row), default=0)
    return number, starts[number] if starts else 0
