"""Tar shards (WebDataset) and Parquet files, taken apart: what lies in them, read once through.

Members are read in the order of the file, so that a store is asked for large blocks one after the
other and no member costs a request of its own.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.errors import SourceError
from pipeline.storage.address import cell, member, shard_of
from pipeline.storage.filesystems import in_words
from pipeline.storage.reading import open_shard
from pipeline.storage.tables import cells_of

Entry = tuple[str, bytes | Exception]  # a place, and what lies there or why it cannot be read


def entries_of(shard: str, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    """Yield what lies in a shard, in its order.

    Args:
        shard: a tar file, or a Parquet file with a column (see `address.shard_of`).
        wanted: says of a member's name whether it is an image; other members are passed over.

    Raises:
        OSError, SourceError: the shard cannot be read, or not to its end. What came before is
            whole.
    """
    found = shard_of(shard)
    assert found is not None
    file, column = found
    with in_words(file), open_shard(file) as opened:
        if column is not None:
            for row, data in enumerate(cells_of(opened, file, column)):
                empty = SourceError("The cell is empty.")
                yield cell(file, column, row), empty if data is None else data
            return
        try:
            yield from _members(opened, file, wanted)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise SourceError(f"It is damaged ({' '.join(str(error).split())[:80]}).") from error


def _members(opened: Any, file: str, wanted: Callable[[str], bool]) -> Iterator[Entry]:
    with tarfile.open(fileobj=opened, mode="r:") as tar:
        while (one := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep every one of a million
            name = os.fsencode(one.name).decode("utf-8", "backslashreplace")
            if not one.isreg() or not wanted(name):
                continue
            place = member(file, name, one.offset_data, one.size)
            if one.issparse():
                yield place, SourceError("It is stored sparsely. Write the shard without holes.")
                continue
            opened.seek(one.offset_data)
            data = opened.read(one.size)
            if len(data) < one.size:
                yield place, SourceError("The shard ends within it.")
                continue
            yield place, data
        # The library takes whatever is no header for the end.
        opened.seek(tar.offset)
        rest = opened.read(tarfile.BLOCKSIZE)
        if not rest:
            raise SourceError("It has no end mark, so that it may have been cut off.")
        if rest.strip(b"\0"):
            raise SourceError(f"It is damaged: nothing behind byte {tar.offset:,} can be read.")
