"""Teacher vectors of images, computed once per picture and kept in a cache that all runs share.

The cache is a folder per teacher fingerprint, and in it shards: one .npy file for each batch, an
array of (id, vector) records. A shard is renamed into place when whole and never written again, so
a kill loses at most the batch in flight and several processes may add at once. Shards are read
memory-mapped; many small ones are merged from time to time.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from pipeline.errors import SourceError
from pipeline.pixels import read_rgb
from pipeline.records import Progress, no_progress
from pipeline.teachers.base import Teacher
from pipeline.workspace import replacing

log = logging.getLogger(__name__)

_MERGE_ABOVE = 32  # small shards
_SMALL_BYTES = 32 << 20


@dataclass
class Embedded:
    """Vectors for images, and why some have none."""

    vectors: dict[str, np.ndarray]  # id → unit vector (dim,) float32
    computed: int  # how many came from the teacher rather than the cache
    failures: dict[str, str] = field(default_factory=dict)  # id → a sentence


class EmbeddingCache:
    """The vectors of one teacher, by image id.

    Args:
        root: folder of all teachers' caches.
        fingerprint: the teacher's.
    """

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.folder = root / fingerprint

    def get(self, ids: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the vectors that are there, (dim,) float32 each; other ids are left out."""
        wanted = {bytes.fromhex(one): one for one in ids}
        if not wanted:
            return {}
        keys = np.array(sorted(wanted), dtype="S32")
        found: dict[str, np.ndarray] = {}
        for records in self._shards():
            stored = np.ascontiguousarray(records["id"]).view("S32").ravel()
            slots = np.searchsorted(keys, stored)
            slots[slots == len(keys)] = 0
            rows = np.flatnonzero(keys[slots] == stored)
            for row in rows:
                found[wanted[records["id"][row].tobytes()]] = records["vector"][row]
        return found

    def put(self, vectors: dict[str, np.ndarray]) -> None:
        """Add vectors; they are on disk, whole, when this returns."""
        if not vectors:
            return
        dim = len(next(iter(vectors.values())))
        records = np.empty(len(vectors), dtype=_record_type(dim))
        for row, (one, vector) in enumerate(vectors.items()):
            records[row] = (np.frombuffer(bytes.fromhex(one), np.uint8), vector)
        self._write(records)

    def merge(self) -> None:
        """Join small shards into one where there are many; another process at it means no need."""
        small = [path for path in self._paths() if path.stat().st_size < _SMALL_BYTES]
        if len(small) <= _MERGE_ABOVE:
            return
        try:
            with FileLock(self.folder / ".merge.lock", timeout=0):
                parts = [part for part in map(self._open, small) if part is not None]
                if parts:
                    joined = np.concatenate(parts)
                    _, first = np.unique(joined["id"].view("S32").ravel(), return_index=True)
                    self._write(joined[np.sort(first)])
                for path in small:
                    path.unlink(missing_ok=True)
        except Timeout:
            return

    def _write(self, records: np.ndarray) -> None:
        with replacing(self.folder / f"{uuid.uuid4().hex}.npy") as aside:
            np.save(aside, records, allow_pickle=False)

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.npy") if not path.name.startswith("."))

    def _open(self, path: Path) -> np.ndarray | None:
        try:
            records: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError):
            log.warning("%s in the embedding cache is damaged; its images are embedded again", path)
            return None
        if records.dtype.names != ("id", "vector") or records.ndim != 1:
            log.warning("%s in the embedding cache is not one of ours; it is passed over", path)
            return None
        return records

    def _shards(self) -> Iterator[np.ndarray]:
        try:
            opened = [self._open(path) for path in self._paths()]
        except FileNotFoundError:
            # Another process merged between listing and opening: its merged shard is listed now.
            opened = [self._open(path) for path in self._paths()]
        return (records for records in opened if records is not None)


def _record_type(dim: int) -> np.dtype[np.void]:
    return np.dtype([("id", "u1", (32,)), ("vector", "<f4", (dim,))])


def embed(
    teacher: Teacher,
    images: Sequence[tuple[str, Path]],
    cache: EmbeddingCache,
    *,
    batch: int = 64,
    max_pixels: int = 100_000_000,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> Embedded:
    """Return a unit vector for every readable image, from the cache where it is there.

    Files are read, decoded and prepared on threads ahead of the teacher, at most three batches of
    them, so memory stays flat whatever the number of images. Every batch is in the cache before the
    next one starts.

    Args:
        images: (id, path) pairs; the id is the SHA-256 of the file's bytes and is checked.
        batch: images per forward pass.
        max_pixels: larger images are refused before they are decoded.
        workers: decoding threads; by default one per core.
        progress: told after each batch.
    """
    paths = dict(images)
    vectors = cache.get(paths)
    missing = [(one, path) for one, path in paths.items() if one not in vectors]
    result = Embedded(vectors=vectors, computed=0)
    progress(len(vectors), len(paths))
    if not missing:
        return result

    def prepare(one: str, path: Path) -> np.ndarray:
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SourceError(f"It could not be read any more ({reason}).") from error
        if hashlib.sha256(data).hexdigest() != one:
            raise SourceError("It changed while it was being labeled. Run again.")
        return teacher.prepare(read_rgb(data, max_pixels))

    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        ahead: list[tuple[str, Future[np.ndarray]]] = []
        queue = iter(missing)
        try:
            while True:
                for one, path in itertools.islice(queue, 3 * batch - len(ahead)):
                    ahead.append((one, pool.submit(prepare, one, path)))
                if not ahead:
                    break
                ready: dict[str, np.ndarray] = {}
                while ahead and len(ready) < batch:
                    one, future = ahead.pop(0)
                    try:
                        ready[one] = future.result()
                    except SourceError as error:
                        result.failures[one] = str(error)
                if ready:
                    embedded = teacher.embed_images(list(ready.values()))
                    fresh = dict(zip(ready, embedded, strict=True))
                    cache.put(fresh)
                    vectors.update(fresh)
                    result.computed += len(fresh)
                progress(len(vectors) + len(result.failures), len(paths))
        finally:
            for _, future in ahead:
                future.cancel()
    cache.merge()
    return result
