"""The engine of one machine: threads read images and have them encoded by one sight.

Batches go through the teacher side by side: a thread reads, decodes and prepares a batch and then
has it encoded. On a CPU each core works on a batch of its own; on a GPU the threads prepare ahead
and take turns at the encoder.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import OutOfMemory, SourceError
from pipeline.listener import Progress, no_progress
from pipeline.machine import cores
from pipeline.pixels import MAX_PIXELS
from pipeline.pool import work_ahead
from pipeline.storage.filesystems import StorageError
from pipeline.storage.reading import read_each
from pipeline.streams import torch_threads
from pipeline.teachers.base import Reader, Sight
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.base import Embedded, Images, Viewer, missing_of

_CPU_BATCH = 32  # larger ones fall out of the processor's caches: measured, 64 is as fast, 128 not
_KEEP_EVERY = 2.0  # seconds between two shards
_KEEP_AFTER = 4096  # images between two shards, at most
_SHARDS = 32  # between two merges
# Batches for each thread, done or under way, whose turn has not come; one of huge photos holds the
# others up only when so many wait. Those that are done hold vectors and no pictures any more.
_AHEAD = 4


@dataclass
class _Batch:
    ids: list[str]
    vectors: np.ndarray | None  # (n, dim), None where no image could be read
    failures: dict[str, str]


def embed(
    sight: Sight,
    images: Images,
    cache: EmbeddingCache,
    *,
    batch: int | None = None,
    max_pixels: int = MAX_PIXELS,
    compiling: str = "auto",
    progress: Progress = no_progress,
    keep_every: float = _KEEP_EVERY,
) -> Embedded:
    """See to it that the cache has a unit vector of every readable image.

    The pictures of one batch for each thread are in memory, whatever the number of images. A batch
    that does not fit into the device's memory is halved, and so are those after it.

    Args:
        images: the id is the SHA-256 of the file's bytes and is checked.
        batch: images per forward pass; by default what suits the device.
        max_pixels: larger images are refused before they are decoded.
        compiling: "auto", "always" or "never": see `pipeline.teachers.compiled`.
        progress: told what is in the cache, after each shard.
        keep_every: seconds of work that a kill may cost.

    Raises:
        TeacherError: a single image does not fit into the device's memory.
    """
    missing = missing_of(images, cache)
    result = Embedded(computed=0)
    total = len(images)
    told = done = total - len(missing)
    progress(done, total)
    if not missing:
        return result
    encoder = Encoder(sight, batch or batch_of(sight))
    with torch_threads() as alone:
        if sight.streams > 1:
            alone()  # as the code will run
        sight.get_ready(len(missing) // sight.streams, encoder.batch, compiling)

    shard = ShardInProgress(cache, keep_every)
    try:
        with contextlib.closing(_batches(encoder, missing, max_pixels)) as batches:
            for finished in batches:
                result.failures |= finished.failures
                if finished.vectors is not None:
                    shard.add(finished.ids, finished.vectors)
                if shard.is_due:
                    result.computed += shard.keep()
                    told = done + result.computed + len(result.failures)
                    progress(told, total)
    finally:  # an error, or a person's Ctrl-C, costs nothing that was finished
        result.computed += shard.keep()
    if told < total:
        progress(total, total)
    cache.merge()
    return result


def run(
    viewer: Viewer,
    images: Images,
    cache: EmbeddingCache,
    max_pixels: int,
    progress: Progress,
) -> Embedded:
    """Do what `embed` does, as the viewer's settings say: see `Engine`."""
    settings = viewer.settings
    return embed(
        viewer.sight,
        images,
        cache,
        batch=settings.batch,
        max_pixels=max_pixels,
        compiling=settings.compile,
        progress=progress,
    )


def _batches(
    encoder: Encoder, missing: dict[str, str], max_pixels: int
) -> Generator[_Batch, None, None]:
    """Yield one batch after the other; of a batch that fails, the error comes after those that were
    begun with it."""
    sight = encoder.sight

    def parts() -> Iterator[list[tuple[str, str]]]:
        pairs = iter(missing.items())
        while part := list(itertools.islice(pairs, encoder.batch)):
            yield part

    def work(part: list[tuple[str, str]]) -> _Batch:
        ready: dict[str, np.ndarray] = {}
        failures: dict[str, str] = {}
        for image_id, found in read_images(sight.read, part, max_pixels):
            if isinstance(found, SourceError):
                failures[image_id] = str(found)
            else:
                ready[image_id] = found
        vectors = encoder(list(ready.values())) if ready else None
        return _Batch(list(ready), vectors, failures)

    workers = sight.streams if sight.streams > 1 else cores()
    with torch_threads() as alone:
        yield from work_ahead(
            work,
            parts(),
            workers=workers,
            ahead=_AHEAD * workers,
            name="embed",
            initializer=alone,
        )


def read_images(
    read: Reader, images: Sequence[tuple[str, str]], max_pixels: int
) -> Iterator[tuple[str, np.ndarray | SourceError]]:
    """Yield each image's id and what the encoder takes of it, or why it cannot be read.

    Args:
        read: the sight's.
        images: (id, place) pairs.

    Raises:
        StorageError: a store has answered for none of several images: it is not they that are
            damaged.
    """
    answers = read_each([place for _, place in images])
    lost = 0
    for (image_id, _), data in zip(images, answers, strict=True):
        try:
            yield image_id, _prepared(read, image_id, data, max_pixels)
        except SourceError as error:
            lost += isinstance(data, StorageError)
            if lost == len(images) > 1:
                raise StorageError(
                    f"{images[0][1]} and all {len(images):,} images asked for with it: {error} Run "
                    "the same command again; it goes on where it was."
                ) from error
            yield image_id, error


def _prepared(read: Reader, image_id: str, data: bytes | Exception, most: int) -> np.ndarray:
    if isinstance(data, OSError):
        reason = data.strerror or type(data).__name__
        raise SourceError(f"It could not be read any more ({reason}).") from data
    if isinstance(data, Exception):
        raise data if isinstance(data, SourceError) else SourceError("It cannot be read any more.")
    if hashlib.sha256(data).hexdigest() != image_id:
        raise SourceError("It changed while it was being labeled. Run again.")
    return read(data, most)


class Encoder:
    """Has batches encoded, no more than the teacher takes at once, and none too large."""

    def __init__(self, sight: Sight, batch: int) -> None:
        self.sight = sight
        self._turn = threading.Semaphore(sight.streams)
        self.batch = batch

    def __call__(self, prepared: list[np.ndarray]) -> np.ndarray:
        """Return unit vectors (n, dim) of prepared images."""
        parts = []
        while prepared:
            take = min(self.batch, len(prepared))
            try:
                with self._turn:
                    parts.append(self.sight.embed_images(prepared[:take]))
            except OutOfMemory:
                if take == 1:
                    raise
                self.batch = min(self.batch, (take + 1) // 2)
                continue
            prepared = prepared[take:]
        return np.concatenate(parts)


class ShardInProgress:
    """Vectors that are not on disk yet.

    Args:
        keep_every: seconds between two shards.
        keep_after: images between two shards, at most.
    """

    def __init__(
        self,
        cache: EmbeddingCache,
        keep_every: float = _KEEP_EVERY,
        keep_after: int = _KEEP_AFTER,
    ) -> None:
        self._cache = cache
        self._keep_every, self._keep_after = keep_every, keep_after
        self._kept = 0
        self._ids: list[str] = []
        self._vectors: list[np.ndarray] = []
        self._due = 0.0  # the first batch is kept at once

    @property
    def is_due(self) -> bool:
        """Whether it is time for a shard."""
        return time.monotonic() >= self._due or len(self._ids) >= self._keep_after

    def add(self, ids: list[str], vectors: np.ndarray) -> None:
        """Take vectors (n, dim) of images."""
        self._ids += ids
        self._vectors.append(vectors)

    def keep(self) -> int:
        """Write a shard; returns how many images it holds."""
        count = len(self._ids)
        if count:
            self._cache.put(self._ids, np.concatenate(self._vectors))
            self._ids, self._vectors = [], []
            self._kept += 1
            if self._kept % _SHARDS == 0:
                self._cache.merge()
        self._due = time.monotonic() + self._keep_every
        return count


def batch_of(sight: Sight) -> int:
    """Return how many images are encoded at once where nobody says otherwise."""
    if not sight.device.startswith("cuda"):
        return _CPU_BATCH
    import torch

    # A transformer's activations take some 100 MB an image at worst (a large model at 336 pixels);
    # what does not fit after all is halved.
    free, _ = torch.cuda.mem_get_info(sight.device)
    return max(8, min(512, 1 << int(free / 2 / 100e6).bit_length() >> 1))
