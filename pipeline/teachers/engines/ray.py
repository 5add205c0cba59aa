"""The engine of many machines: a Ray cluster reads and encodes, and leaves Parquet shards.

Images are dealt into pieces. Each is read and decoded by a task, encoded by one of a pool of actors
(one on each GPU, or where there is none, on each processor), and written as a shard by another
task. The vectors of a finished shard join the cache here at once, so that whatever interrupts costs
what was under way; a shard that is there is not computed again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.cluster import Resources, connected, stream
from pipeline.config import LabelConfig
from pipeline.errors import ConfigError, SourceError, TeacherError
from pipeline.files import cache_dir
from pipeline.listener import Progress
from pipeline.storage.address import Place, is_address, joined
from pipeline.storage.vectors import read_shard, shards_in
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.base import Embedded, Images, Viewer
from pipeline.teachers.engines.ray_steps import PLAIN, steps_of
from pipeline.teachers.engines.threads import ShardInProgress

_LARGEST = 512  # images of a piece: what is decoded of one must fit into memory several times
_SMALLEST = 32
_LOOKED_UP = 8192  # images looked up together
_A_FILE = 8192  # images without a vector, at least, but in the last one
_KEPT = 1024  # vectors that wait for the cache, and the last shard's
_EACH = 8  # pieces for each worker, at least, so that none waits long for the last


@dataclass(frozen=True)
class RayEngine:
    """Has images embedded by the cluster that the settings name: see `Engine`."""

    label: LabelConfig

    def __call__(
        self,
        viewer: Viewer,
        images: Images,
        cache: EmbeddingCache,
        max_pixels: int,
        progress: Progress,
    ) -> Embedded:
        """See `Engine`.

        Raises:
            TeacherError: there is no such cluster, or the work fails there.
            ConfigError: Ray is not installed, or the machines share no place for the vectors.
        """
        total = len(images)
        shards = _Shards(self.label.vectors, viewer.sight.fingerprint, cache)
        shards.take_over(images)
        with _Missing(images, cache) as missing:
            progress(total - missing.count, total)
            if not missing.count:
                return Embedded(computed=0)
            with connected(self.label.address) as there:
                if there.elsewhere and self.label.vectors is None:
                    raise ConfigError(
                        "The cluster has other machines than this one. Set `label.vectors` to an "
                        "address (s3://…), or to a folder that all of them share."
                    )
                return self._embed(viewer, missing, shards, there, max_pixels, progress, total)

    def _embed(
        self,
        viewer: Viewer,
        missing: _Missing,
        shards: _Shards,
        there: Resources,
        max_pixels: int,
        progress: Progress,
        total: int,
    ) -> Embedded:
        workers = there.gpus or there.cpus
        steps = steps_of(viewer, shards.folder, there, missing.count // workers, max_pixels)
        result = Embedded(computed=0)
        begun = total - missing.count
        try:
            for done in stream(missing.pieces(workers), steps):
                for row in done.to_pylist():
                    if row["error"] is not None:
                        raise TeacherError(f"On {row['host']}: {row['error']}")
                    result.failures |= dict(zip(row["ids"], row["reasons"], strict=True))
                    result.computed += shards.take(row["shard"])
                    progress(begun + result.computed + len(result.failures), total)
        finally:  # an error, or a person's Ctrl-C, costs nothing that was finished
            shards.finish()
        return result


class _Shards:
    """Where workers leave vectors, and what of them has joined the cache.

    Args:
        where: a folder or an address; None for a folder of our own, which goes when its vectors are
            in the cache.
        fingerprint: of who sees.
        cache: of the same.
    """

    def __init__(self, where: Path | str | None, fingerprint: str, cache: EmbeddingCache) -> None:
        self._ours = where is None
        base: Place = cache_dir() / "shards" if where is None else where
        self.folder = (
            joined(str(base), fingerprint) if is_address(base) else str(Path(base) / fingerprint)
        )
        self._cache = cache
        self._waiting = ShardInProgress(cache, keep_after=_KEPT)

    def take_over(self, images: Images) -> None:
        """Put what earlier runs have left of these images into the cache."""
        wanted: np.ndarray | None = None
        for place in shards_in(self.folder):
            if wanted is None:
                wanted = _keys_without_vector(images, self._cache)
            if not len(wanted):
                return
            try:
                ids, vectors = read_shard(place)
            except (OSError, SourceError):
                continue  # whoever writes it again replaces it
            new = np.isin(_keys(ids), wanted)
            if new.any():
                self._waiting.add([ids[row] for row in np.flatnonzero(new)], vectors[new])
            if self._waiting.is_due:
                self._waiting.keep()
        self._waiting.keep()

    def take(self, place: str) -> int:
        """Put a shard that was just written into the cache; returns how many images it has.

        Raises:
            ConfigError: it is not to be seen from here.
        """
        try:
            ids, vectors = read_shard(place)
        except FileNotFoundError:
            raise ConfigError(
                f"{place} was written by another machine and is not to be seen from here. Set "
                "`label.vectors` to an address (s3://…), or to a folder that all machines share."
            ) from None
        if ids:
            self._waiting.add(ids, vectors)
        if self._waiting.is_due:
            self._waiting.keep()
        return len(ids)

    def finish(self) -> None:
        """Keep what is not yet in the cache."""
        self._waiting.keep()
        self._cache.merge()
        if self._ours:
            shutil.rmtree(self.folder, ignore_errors=True)


class _Missing:
    """The images whose vectors the cache lacks, in files that go with the block: however many there
    are, few are in memory."""

    def __init__(self, images: Images, cache: EmbeddingCache) -> None:
        self._given = (images, cache)
        self._files: list[tuple[str, int]] = []  # each with its rows

    def __enter__(self) -> _Missing:
        self._folder = tempfile.TemporaryDirectory(prefix="clip2yolo-cluster-")
        waiting: list[pl.DataFrame] = []
        for part in _without_vector(*self._given):
            waiting.append(part)
            if sum(map(len, waiting)) >= _A_FILE:
                self._write(waiting)
                waiting = []
        self._write(waiting)
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def _write(self, parts: list[pl.DataFrame]) -> None:
        rows = sum(map(len, parts))
        if rows:
            file = Path(self._folder.name) / f"{len(self._files):06d}.arrow"
            pl.concat(parts).write_ipc(file, compat_level=PLAIN)
            self._files.append((str(file), rows))

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(rows for _, rows in self._files)

    def pieces(self, workers: int) -> list[Callable[[], Any]]:
        """Deal them into tables of neighbours, columns id and path: those in one shard are read
        with few requests. Returns what makes each table."""
        size = min(_LARGEST, max(_SMALLEST, self.count // (workers * _EACH)))
        return [
            partial(_piece, file, start, size)
            for file, rows in self._files
            for start in range(0, rows, size)
        ]


def _piece(file: str, start: int, rows: int) -> Any:
    return pl.scan_ipc(file).slice(start, rows).collect().to_arrow(compat_level=PLAIN)


def _without_vector(images: Images, cache: EmbeddingCache) -> Iterator[pl.DataFrame]:
    """Yield the images whose vectors the cache lacks, some at a time: columns id and path."""
    for start in range(0, len(images), _LOOKED_UP):
        part = images[start : start + _LOOKED_UP]
        if isinstance(part, pl.DataFrame):
            table = part.select("id", "path")
        else:
            table = pl.DataFrame(list(part), {"id": pl.String, "path": pl.String}, orient="row")
        there = cache.has(table["id"].to_list(), fresh=start == 0)
        yield table.filter(pl.Series(~there))


def _keys_without_vector(images: Images, cache: EmbeddingCache) -> np.ndarray:
    """The keys of the images whose vectors the cache lacks: 8 bytes for each."""
    parts = [_keys(part["id"]) for part in _without_vector(images, cache)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _keys(ids: Sequence[str] | pl.Series) -> np.ndarray:
    """The first 16 digits of ids as numbers. Two images that share them are taken for each other,
    which has a vector too many taken over, and nothing else."""
    if not len(ids):
        return np.empty(0, np.uint64)
    return np.frombuffer(bytes.fromhex("".join(one[:16] for one in ids)), "<u8")
