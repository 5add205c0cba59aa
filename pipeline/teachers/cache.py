"""The embedding cache: teacher vectors by picture, and by sentence (`sentences.py`), shared by all
runs.

A folder per teacher fingerprint, and in it shards: a file of vectors and a file of the ids they
belong to, row by row. The ids are renamed into place last and nothing is ever written again, so a
kill loses at most what was not yet told to be there, and several processes may add at once. Vectors
are read memory-mapped; many small shards are merged from time to time.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from pipeline.errors import WorkspaceError
from pipeline.files import replacing, sweep, write_json
from pipeline.teachers.cache_index import Index, words_of

log = logging.getLogger(__name__)

_MERGE_ABOVE = 32  # small shards
_SMALL_BYTES = 32 << 20
_MERGED_BYTES = 128 << 20  # of shards joined at a time
_ROWS = 256  # copied together
_TRIES = 50  # to see the shards while others merge them
IDS, _VECTORS, ABOUT = ".ids.npy", ".vectors.npy", "teacher.json"


# What a file system answers where nothing may be written. A full disk is another matter: it ends
# the run, since whoever frees some space gets everything kept.
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
_asides: dict[Path, Path] = {}  # root of a cache that takes nothing → where its vectors go instead


def _aside_of(root: Path, error: OSError) -> Path:
    """A folder for this process alone, in the place of a cache that cannot be written to."""
    if root not in _asides:
        log.warning(
            "%s cannot be written to (%s), so that no vector is kept: the next run embeds every "
            "image again. Set CLIP2YOLO_CACHE to a folder of yours.", root, error.strerror
        )  # fmt: skip
        folder = tempfile.TemporaryDirectory(prefix="clip2yolo-cache-")
        atexit.register(folder.cleanup)
        _asides[root] = Path(folder.name)
    return _asides[root]


@dataclass(frozen=True)
class _Shard:
    """A file of ids and one of vectors. What was read of a map counts as the process's memory as
    long as it is held, so nobody holds one."""

    place: Path  # of the ids
    rows: int
    dim: int

    def ids(self) -> np.ndarray:
        """Map the ids (rows, 32) bytes."""
        return _mapped(self.place)

    def vectors(self) -> np.ndarray:
        """Map the vectors (rows, dim) float32."""
        return _mapped(_vectors_of(self.place))


class _RowsOf:
    """Rows of several shards, below one another, read as they are asked for.

    Args:
        parts: of one width.
        rows: ascending, counted through all parts.
        read: what is read of each part.
    """

    def __init__(
        self, parts: Sequence[_Shard], rows: np.ndarray, read: Callable[[_Shard], np.ndarray]
    ) -> None:
        self._parts, self._rows, self._read = parts, rows, read
        self._ends = np.cumsum([part.rows for part in parts])
        self.shape = (len(rows), read(parts[0]).shape[1])

    def __getitem__(self, some: slice) -> np.ndarray:
        rows = self._rows[some]
        of = np.searchsorted(self._ends, rows, side="right")
        starts = self._ends - [part.rows for part in self._parts]
        found = [
            self._read(self._parts[one])[rows[of == one] - starts[one]] for one in np.unique(of)
        ]
        return np.concatenate(found)


class EmbeddingCache:
    """The vectors of one teacher, by image id.

    Args:
        root: folder of all teachers' caches.
        fingerprint: the teacher's.
        name: the teacher's, for people.
    """

    def __init__(self, root: Path, fingerprint: str, name: str | None = None) -> None:
        self.folder = root / fingerprint
        self._aside = _asides.get(root)  # where vectors go that cannot be kept
        self._root, self._name = root, name
        self._known: tuple[list[_Shard], Index] | None = None

    def has(self, ids: Sequence[str], fresh: bool = True) -> np.ndarray:
        """Say of each id whether its vector is there, (n,) bool.

        Args:
            ids: of images.
            fresh: look at the disk again, where other processes may have added some.
        """
        if fresh:
            self._known = None
            sweep(self.folder)
        shard, _ = self._find(ids)
        if self._name and self.folder.is_dir():
            with contextlib.suppress(OSError):  # whoever prunes sees what is in use
                os.utime(self.folder)
        return shard >= 0

    def vectors(self, ids: Sequence[str], dtype: type[np.floating[Any]] = np.float32) -> np.ndarray:
        """Return the vectors (n, dim) of ids that are all there.

        Raises:
            KeyError: one of them is not.
        """
        for _ in range(_TRIES):
            shard, row = self._find(ids)
            if (shard < 0).any():
                # Another process may have added some, or merged them, since we looked.
                self._known = None
                shard, row = self._find(ids)
            if (shard < 0).any():
                raise KeyError(ids[int(np.argmax(shard < 0))])
            with contextlib.suppress(FileNotFoundError):
                return self._gather(shard, row, dtype)
            self._known = None  # merged away in this moment
        raise self._restless()

    def _gather(
        self, shard: np.ndarray, row: np.ndarray, dtype: type[np.floating[Any]]
    ) -> np.ndarray:
        shards, _ = self._index()
        found = np.empty((len(row), shards[0].dim if shards else 0), dtype)
        for number in np.unique(shard):
            wanted = np.flatnonzero(shard == number)
            wanted = wanted[np.argsort(row[wanted])]  # in the order of the file
            found[wanted] = shards[number].vectors()[row[wanted]]
        return found

    def put(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        """Add vectors (n, dim); they are on disk, whole, when this returns."""
        if not ids:
            return
        if self._aside is None:
            try:
                if self._name and not (self.folder / ABOUT).is_file():
                    write_json(self.folder / ABOUT, {"teacher": self._name})
                self._write(self.folder, _bytes_of(ids), vectors)
                return
            except OSError as error:
                if error.errno not in _READ_ONLY:
                    raise
                self._aside = _aside_of(self._root, error)
        self._write(self._aside / self.folder.name, _bytes_of(ids), vectors)
        self._known = None

    def merge(self) -> None:
        """Join small shards into larger ones where there are many, some of them at a time, so that
        memory stays flat; another process at it means no need."""
        if self._aside is not None or len(self._paths()) <= _MERGE_ABOVE:
            return
        try:
            with FileLock(self.folder / ".merge.lock", timeout=0):
                sizes = {path: _vectors_of(path).stat().st_size for path in self._paths()}
                small = [path for path, size in sizes.items() if size < _SMALL_BYTES]
                if len(small) <= _MERGE_ABOVE:
                    return
                together: list[Path] = []
                for path in small:
                    together.append(path)
                    if sum(sizes[one] for one in together) >= _MERGED_BYTES or path == small[-1]:
                        self._join(together)
                        together = []
        except (Timeout, FileNotFoundError):
            return
        self._known = None

    def _join(self, paths: Sequence[Path]) -> None:
        """Write some shards as one and remove them, a few rows of them in memory at a time."""
        parts = [part for part in map(self._open, paths) if part is not None]
        if parts:
            rows = _first_of_each(parts)
            ids, vectors = (_RowsOf(parts, rows, read) for read in (_Shard.ids, _Shard.vectors))
            self._write(self.folder, ids, vectors)
        for path in paths:
            path.unlink(missing_ok=True)
            # On Windows a file that somebody has mapped stays until the next pruning.
            with contextlib.suppress(PermissionError):
                _vectors_of(path).unlink(missing_ok=True)

    def _write(
        self, folder: Path, ids: np.ndarray | _RowsOf, vectors: np.ndarray | _RowsOf
    ) -> None:
        stem = uuid.uuid4().hex
        for ending, kind, rows in ((_VECTORS, "<f4", vectors), (IDS, "|u1", ids)):
            with replacing(folder / f"{stem}{ending}") as aside, aside.open("wb") as file:
                head = {"descr": kind, "fortran_order": False, "shape": rows.shape}
                np.lib.format.write_array_header_1_0(file, head)
                for start in range(0, rows.shape[0], _ROWS):
                    some = rows[start : start + _ROWS]
                    file.write(np.ascontiguousarray(some, kind).data)

    def _find(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the shard (-1: none) and the row of each id."""
        _, index = self._index()
        return index.find(_bytes_of(ids))

    def _index(self) -> tuple[list[_Shard], Index]:
        known = self._known
        if known is not None:
            return known
        for _ in range(_TRIES):
            # Where another process merged between listing and reading, its merged shard is listed
            # the next time.
            with contextlib.suppress(FileNotFoundError):
                shards = [shard for shard in map(self._open, self._paths()) if shard is not None]
                self._known = known = shards, Index(shards, self.folder)
                return known
        raise self._restless()

    def _paths(self) -> list[Path]:
        places = [self.folder]
        if self._aside is not None:
            places.append(self._aside / self.folder.name)
        found = (path for place in places for path in place.glob(f"*{IDS}"))
        return sorted(path for path in found if not path.name.startswith("."))

    def _restless(self) -> WorkspaceError:
        return WorkspaceError(f"{self.folder} changes all the time. Wait for the other processes.")

    def _open(self, path: Path) -> _Shard | None:
        try:
            ids, vectors = _mapped(path), _mapped(_vectors_of(path))
        except (ValueError, EOFError):
            log.warning("%s in the embedding cache is damaged; its images are embedded again", path)
            return None
        whole = ids.dtype == np.uint8 and ids.shape[1:] == (32,) and vectors.ndim == 2
        if not whole or vectors.dtype != np.float32 or len(ids) != len(vectors):
            log.warning("%s in the embedding cache is not one of ours; it is passed over", path)
            return None
        return _Shard(path, len(ids), vectors.shape[1])


def _vectors_of(ids: Path) -> Path:
    return ids.with_name(ids.name.removesuffix(IDS) + _VECTORS)


def _bytes_of(ids: Sequence[str]) -> np.ndarray:
    """Ids in hexadecimal as (n, 32) bytes."""
    return np.frombuffer(bytes.fromhex("".join(ids)), np.uint8).reshape(-1, 32)


def _mapped(path: Path) -> np.ndarray:
    mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _first_of_each(parts: Sequence[_Shard]) -> np.ndarray:
    """Return the rows, counted through all parts, that hold no id of an earlier one."""
    keys = np.concatenate([words_of(part.ids())[:, 0] for part in parts])
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    some = np.unique([order[again], order[again + 1]])  # that begin alike: few, or none
    first = np.ones(len(keys), bool)
    if len(some):
        words = words_of(_RowsOf(parts, some, _Shard.ids)[:])
        _, kept = np.unique(words, axis=0, return_index=True)
        first[np.delete(some, kept)] = False
    return np.flatnonzero(first)
