"""How places are written, and what must never be written into one: a credential."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

# Scheme → what its filesystem is installed with.
SCHEMES = {"s3": "s3", "gs": "gs", "az": "az"}
_STARTS = tuple(f"{one}://" for one in SCHEMES)

Place = str | Path

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_MEMBER = re.compile(r"(?s)(.+?\.tar)#(.+)@(\d+)\+(\d+)")
_RANGE = re.compile(r"(?s)(.+?\.parquet)#(.+\[\d+\])@(\d+)\+(\d+)")
_CELL = re.compile(r"(?s)(.+?\.parquet)#(.+)\[(\d+)\]")
_TABLE = re.compile(r"(?s)(.+?\.parquet)#(.+[^\]])")
# The parts of a signed address that let whoever reads it in.
_SIGNED = re.compile(
    r"[?&;](x-(amz|goog|ms)-[a-z-]+|sig|signature|awsaccesskeyid|googleaccessid|access_?token|token"
    r"|key|password|secret)=",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Member:
    """A file in a tar shard, or a cell of a Parquet file that is known to lie there as it is."""

    shard: str
    name: str  # for people; where it lies is said by the next two
    start: int  # byte of the shard
    size: int  # bytes


@dataclass(frozen=True)
class Cell:
    """The bytes in one row of a column of a Parquet file."""

    shard: str
    column: str
    row: int  # from 0


def is_address(place: Place) -> bool:
    """Say whether a place is in an object store."""
    return isinstance(place, str) and place.startswith(_STARTS)


def scheme_of(text: str) -> str | None:
    """Return the scheme that a text begins with, as `s3` of `s3://…`; None where it has none."""
    found = _SCHEME.match(text)
    return found[1].lower() if found else None


def check_address(text: str) -> None:
    """Refuse an address that nobody here can read, or that holds a credential.

    Raises:
        ValueError: what is wrong, in words that do not repeat the address.
    """
    scheme = scheme_of(text)
    if scheme not in SCHEMES or not is_address(text):
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise ValueError(f"begins with {scheme}://, which is no store that is read here ({known})")
    bucket = text.split("://", 1)[1].partition("/")[0]
    if not bucket:
        raise ValueError(f"names no bucket; write it as {scheme}://bucket/folder")
    if "@" in bucket or _SIGNED.search(text):
        raise ValueError(
            "holds a user, a key or a signature; write the plain address, and leave credentials to "
            "the provider's own places (environment, profile, role)"
        )


def entry_of(place: Place) -> Member | Cell | None:
    """Return what a place means within a shard; None for a file or an object of its own."""
    if not isinstance(place, str) or "#" not in place:
        return None
    if found := _MEMBER.fullmatch(place) or _RANGE.fullmatch(place):
        return Member(found[1], found[2], int(found[3]), int(found[4]))
    if found := _CELL.fullmatch(place):
        return Cell(found[1], found[2], int(found[3]))
    return None


def member(shard: str, name: str, start: int, size: int) -> str:
    """Return the place of a file in a tar shard; or of a cell, where the name is `column[row]`."""
    return f"{shard}#{name}@{start}+{size}"


def cell(shard: str, column: str, row: int) -> str:
    """Return the place of a cell of a Parquet file."""
    return f"{shard}#{column}[{row}]"


def table(file: str, column: str) -> str:
    """Return the place of all cells of a column."""
    return f"{file}#{column}"


def shard_of(place: str) -> tuple[str, str | None] | None:
    """Return the file of a shard that is to be taken apart, and the column where it is a table;
    None for a place that is one image."""
    if place.endswith(".tar"):
        return place, None
    if "#" in place and entry_of(place) is None and (found := _TABLE.fullmatch(place)):
        return found[1], found[2]
    return None


def is_file_place(place: Place) -> bool:
    """Say whether a place is an ordinary path, for which the operating system is asked."""
    return isinstance(place, Path) or not (is_address(place) or entry_of(place))


def name_of(place: Place) -> str:
    """Return what a person would call it, with a suffix where it has one: the last part of its
    path."""
    entry = entry_of(place)
    if isinstance(entry, Member):
        return posixpath.basename(entry.name) or entry.name
    if isinstance(entry, Cell):
        return f"{posixpath.splitext(name_of(entry.shard))[0]}_{entry.column}_{entry.row}"
    if is_address(place):
        return posixpath.basename(place)
    # The last part as it stands is ten times as soon found as a path is made; it is not a name
    # where the place ends in a slash or a dot.
    last = os.path.basename(place)
    return last if last.strip(".") else Path(place).name


def joined(folder: str, below: str) -> str:
    """Return an address below another one."""
    scheme, _, rest = folder.partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(rest, below))}"
