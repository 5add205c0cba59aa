"""Teacher vectors of images, computed once per picture and kept in the cache.

Batches go through the teacher side by side: a thread reads, decodes and prepares a batch and then
has it encoded. On a CPU each core works on a batch of its own; on a GPU the threads prepare ahead
and take turns at the encoder.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pipeline.errors import OutOfMemory, SourceError
from pipeline.listener import Progress, no_progress
from pipeline.machine import cores
from pipeline.pixels import read_pixels, read_rgb
from pipeline.teachers.base import Teacher
from pipeline.teachers.cache import EmbeddingCache

_CPU_BATCH = 32  # larger ones fall out of the processor's caches: measured, 64 is as fast, 128 not
_KEEP_EVERY = 2.0  # seconds between two shards
_KEEP_AFTER = 4096  # images between two shards, at most
_LOOKED_UP = 50_000  # images looked up together
_SHARDS = 32  # between two merges


@dataclass
class Embedded:
    """What became of images."""

    computed: int  # how many the teacher had to look at
    failures: dict[str, str] = field(default_factory=dict)  # id → a sentence


@dataclass
class _Batch:
    ids: list[str]
    vectors: np.ndarray | None  # (n, dim), None where no image could be read
    failures: dict[str, str]


def embed(
    teacher: Teacher,
    images: Sequence[tuple[str, str]] | pl.DataFrame,
    cache: EmbeddingCache,
    *,
    batch: int | None = None,
    max_pixels: int = 100_000_000,
    compiling: str = "auto",
    progress: Progress = no_progress,
    keep_every: float = _KEEP_EVERY,
) -> Embedded:
    """See to it that the cache has a unit vector of every readable image.

    At most two batches for each thread are in memory, whatever the number of images. A batch that
    does not fit into the device's memory is halved, and so are those after it.

    Args:
        images: (id, path) pairs, or a table with these columns; the id is the SHA-256 of the
            file's bytes and is checked.
        batch: images per forward pass; by default what suits the device.
        max_pixels: larger images are refused before they are decoded.
        compiling: "auto", "always" or "never": see `pipeline.teachers.compiled`.
        progress: told what is in the cache, after each shard.
        keep_every: seconds of work that a kill may cost.

    Raises:
        TeacherError: a single image does not fit into the device's memory.
    """
    paths = missing_of(images, cache)
    missing = list(paths)
    result = Embedded(computed=0)
    total = len(images)
    told = done = total - len(missing)
    progress(done, total)
    if not missing:
        return result
    encoder = _Encoder(teacher, batch or _batch_of(teacher))
    get_ready = getattr(teacher, "get_ready", None)
    if get_ready is not None:
        with _torch_threads() as alone:
            if teacher.streams > 1:
                alone()  # as the code will run
            get_ready(len(missing) // teacher.streams, encoder.batch, compiling)

    def work(part: Sequence[str]) -> _Batch:
        ready: dict[str, np.ndarray] = {}
        failures: dict[str, str] = {}
        for one in part:
            try:
                ready[one] = _prepare(teacher, one, paths[one], max_pixels)
            except SourceError as error:
                failures[one] = str(error)
        vectors = encoder(list(ready.values())) if ready else None
        return _Batch(list(ready), vectors, failures)

    shard = _ShardInProgress(cache, keep_every)
    try:
        for finished in _in_parallel(work, missing, encoder, teacher):
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


def missing_of(
    images: Sequence[tuple[str, str]] | pl.DataFrame, cache: EmbeddingCache
) -> dict[str, str]:
    """Return id → path of the images whose vectors the cache lacks."""
    missing: dict[str, str] = {}
    for start in range(0, max(len(images), 1), _LOOKED_UP):
        part = images[start : start + _LOOKED_UP]
        pairs = part.select("id", "path").rows() if isinstance(part, pl.DataFrame) else part
        there = cache.has([one for one, _ in pairs], fresh=start == 0)
        missing |= dict(pair for pair, known in zip(pairs, there, strict=True) if not known)
    return missing


def _prepare(teacher: Teacher, one: str, path: str, max_pixels: int) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SourceError(f"It could not be read any more ({reason}).") from error
    if hashlib.sha256(data).hexdigest() != one:
        raise SourceError("It changed while it was being labeled. Run again.")
    if teacher.shortest is None:
        return teacher.prepare(read_rgb(data, max_pixels))
    return teacher.prepare(read_pixels(data, max_pixels, teacher.shortest))


class _Encoder:
    """Has batches encoded, no more than the teacher takes at once, and none too large."""

    def __init__(self, teacher: Teacher, batch: int) -> None:
        self._teacher = teacher
        self._turn = threading.Semaphore(teacher.streams)
        self.batch = batch

    def __call__(self, prepared: list[np.ndarray]) -> np.ndarray:
        """Return unit vectors (n, dim) of prepared images."""
        parts = []
        while prepared:
            take = min(self.batch, len(prepared))
            try:
                with self._turn:
                    parts.append(self._teacher.embed_images(prepared[:take]))
            except OutOfMemory:
                if take == 1:
                    raise
                self.batch = min(self.batch, (take + 1) // 2)
                continue
            prepared = prepared[take:]
        return np.concatenate(parts)


class _ShardInProgress:
    """Vectors that are not on disk yet."""

    def __init__(self, cache: EmbeddingCache, keep_every: float) -> None:
        self._cache = cache
        self._keep_every = keep_every
        self._kept = 0
        self._ids: list[str] = []
        self._vectors: list[np.ndarray] = []
        self._due = 0.0  # the first batch is kept at once

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due or len(self._ids) >= _KEEP_AFTER

    def add(self, ids: list[str], vectors: np.ndarray) -> None:
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


def _batch_of(teacher: Teacher) -> int:
    if not teacher.device.startswith("cuda"):
        return _CPU_BATCH
    import torch

    # A transformer's activations take some 100 MB an image at worst (a large model at 336 pixels);
    # what does not fit after all is halved.
    free, _ = torch.cuda.mem_get_info(teacher.device)
    return max(8, min(512, 1 << int(free / 2 / 100e6).bit_length() >> 1))


def _in_parallel(
    work: Callable[[Sequence[str]], _Batch],
    missing: Sequence[str],
    encoder: _Encoder,
    teacher: Teacher,
) -> Iterator[_Batch]:
    """Yield `work` on one batch of ids after the other, as threads finish them.

    Where one of them fails, those that were begun are finished and yielded before the error is
    raised: what another thread has paid for is not thrown away.
    """
    workers = teacher.streams if teacher.streams > 1 else cores()
    ids = iter(missing)
    with _torch_threads() as own, ThreadPoolExecutor(workers, "embed", initializer=own) as pool:
        ahead: set[Future[_Batch]] = set()
        failed: BaseException | None = None
        try:
            while True:
                while failed is None and len(ahead) < 2 * workers:
                    part = list(itertools.islice(ids, encoder.batch))
                    if not part:
                        break
                    ahead.add(pool.submit(work, part))
                if not ahead:
                    break
                finished, ahead = wait(ahead, return_when=FIRST_COMPLETED)
                for future in finished:
                    error = future.exception()
                    if error is None:
                        yield future.result()
                        continue
                    failed = failed or error
                    ahead = {one for one in ahead if not one.cancel()}
        finally:
            for future in ahead:
                future.cancel()
        if failed is not None:
            raise failed


@contextlib.contextmanager
def _torch_threads() -> Iterator[Callable[[], None]]:
    """Yield what sets a worker thread to compute on itself alone; afterwards all is as it was."""
    torch = sys.modules.get("torch")  # a teacher that computes with it has loaded it
    if torch is None:
        yield lambda: None
        return
    before = torch.get_num_threads()
    try:
        yield lambda: torch.set_num_threads(1)
    finally:
        # Some of the libraries below keep one number for the whole process.
        torch.set_num_threads(before)
