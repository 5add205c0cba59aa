"""Where each id of the cache is: an index that takes no more memory for many ids than for few.

Ids are hashes, so that their first bits deal them evenly. Each range of them is a block of the
index, sorted by the first 8 bytes; a look-up sees one block at a time, and only those that it
needs. Beyond a few the blocks lie in a file without a name, which goes with the index.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from mmap import ACCESS_READ, ALLOCATIONGRANULARITY, mmap
from pathlib import Path
from typing import IO, Protocol

import numpy as np

# Ids of a block: about so many at most, and half as many at least. Each look-up maps what it needs
# anew, so that smaller ones take more time: half as large, 20,000 of a million a tenth more.
_BLOCK = 1 << 17
_PIECE = 1 << 14  # ids read of a shard at a time
_IN_MEMORY = 1 << 16  # ids
_ID = 4  # words of 8 bytes
_ENTRY = _ID + 1  # words: an id, and shard and row of its vector


class Ids(Protocol):
    """The ids of a shard."""

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    def ids(self) -> np.ndarray:
        """Return them (rows, 32) bytes."""
        ...


def words_of(ids: np.ndarray) -> np.ndarray:
    """Ids (n, 32) bytes as words (n, 4), of which the first says nearly always which id it is."""
    return np.ascontiguousarray(ids).view("<u8")


class Index:
    """The ids of some shards, as they are when it is made.

    Args:
        shards: where two hold one id, the first counts.
        folder: for what is too large for memory.

    Raises:
        FileNotFoundError: a shard is gone.
    """

    def __init__(self, shards: Sequence[Ids], folder: Path) -> None:
        rows = sum(shard.rows for shard in shards)
        bits = max(1, (rows // _BLOCK).bit_length())
        self._shift = np.uint64(64 - bits)
        counts = np.zeros(1 << bits, np.int64)
        for _, _, ids in _pieces(shards):
            of = (words_of(ids)[:, 0] >> self._shift).astype(np.intp)
            counts += np.bincount(of, minlength=len(counts))
        self._ends = np.cumsum(counts)
        self._file = _room(rows, folder)
        self._deal(shards, self._ends - counts)
        for number in np.flatnonzero(counts):
            self._sort(self._ends[number] - counts[number], np.array(self._block(int(number))))
        self._file.flush()

    def find(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shard (-1: none) and the row of each of some ids (n, 32) bytes."""
        shard = np.full(len(ids), -1)
        row = np.zeros(len(ids), np.int64)
        words = words_of(ids)
        order = np.argsort(words[:, 0])
        cuts = self._cuts(words[order, 0])
        for number in np.flatnonzero(np.diff(cuts)):
            some = order[cuts[number] : cuts[number + 1]]
            known = self._block(int(number)).reshape(_ENTRY, -1)
            if not known.size:
                continue
            slots = np.searchsorted(known[0], words[some, 0])
            slots[slots == known.shape[1]] = 0
            same = np.flatnonzero(known[0, slots] == words[some, 0])
            some, slots = some[same], slots[same]
            for word in range(1, _ID):
                same = np.flatnonzero(known[word, slots] == words[some, word])
                some, slots = some[same], slots[same]
            places = known[_ID, slots]
            shard[some], row[some] = places >> np.uint64(32), places & np.uint64(0xFFFFFFFF)
        return shard, row

    def _cuts(self, keys: np.ndarray) -> np.ndarray:
        """Where each block begins in sorted first words, and where the last one ends."""
        blocks = np.arange(1, 1 << (64 - int(self._shift)), dtype=np.uint64) << self._shift
        return np.concatenate([[0], np.searchsorted(keys, blocks), [len(keys)]])

    def _deal(self, shards: Sequence[Ids], free: np.ndarray) -> None:
        """Write the entries of all shards into their blocks, in the order of the shards.

        Args:
            free: where each block begins.
        """
        for number, start, ids in _pieces(shards):
            words = words_of(ids)
            order = np.argsort(words[:, 0], kind="stable")
            entries = np.empty((len(ids), _ENTRY), "<u8")
            entries[:, :_ID] = words[order]
            entries[:, _ID] = (number << 32) + start + order
            cuts = self._cuts(entries[:, 0])
            for block in np.flatnonzero(np.diff(cuts)):
                some = entries[cuts[block] : cuts[block + 1]]
                self._file.seek(int(free[block]) * _ENTRY * 8)
                self._file.write(some.data)
                free[block] += len(some)
        self._file.flush()

    def _sort(self, start: int, words: np.ndarray) -> None:
        """Write a block's entries in order: the first words of all, then the second ones, …"""
        entries = words.reshape(-1, _ENTRY)
        order = np.argsort(entries[:, 0], kind="stable")
        self._file.seek(int(start) * _ENTRY * 8)
        for word in range(_ENTRY):
            self._file.write(entries[order, word].data)

    def _block(self, number: int) -> np.ndarray:
        """A block's words; nobody holds them, since what was read of a map counts as memory."""
        start = int(self._ends[number - 1]) if number else 0
        count = (int(self._ends[number]) - start) * _ENTRY
        if not count:
            return np.empty(0, "<u8")
        if isinstance(self._file, io.BytesIO):
            words = np.frombuffer(self._file.getbuffer(), "<u8")
            return words[start * _ENTRY : start * _ENTRY + count]
        over = start * _ENTRY * 8 % ALLOCATIONGRANULARITY
        mapped = mmap(
            self._file.fileno(),
            over + count * 8,
            access=ACCESS_READ,
            offset=start * _ENTRY * 8 - over,
        )
        return np.frombuffer(mapped, "<u8", count, over)


def _pieces(shards: Sequence[Ids]) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield a shard's number, a row, and the ids (n, 32) from there on: all ids, some at a time."""
    for number, shard in enumerate(shards):
        for start in range(0, shard.rows, _PIECE):
            yield number, start, np.array(shard.ids()[start : start + _PIECE])


def _room(rows: int, folder: Path) -> IO[bytes]:
    """A file for so many entries: where they are few, or nothing can be written there, in
    memory."""
    if rows > _IN_MEMORY:
        try:
            # On Windows the file has a name, and the folder could not be removed.
            return tempfile.TemporaryFile(dir=None if os.name == "nt" else folder)
        except OSError:
            pass
    return io.BytesIO()
