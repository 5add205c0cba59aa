"""The engine of several devices of one machine: a process on each, and one cache."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Sequence
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from pipeline.config import TeacherConfig
from pipeline.errors import Clip2YoloError, TeacherError
from pipeline.listener import Progress, no_progress
from pipeline.pixels import MAX_PIXELS
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.base import Embedded, Images, Loader, Viewer, missing_of
from pipeline.teachers.engines.threads import embed

_WORTHWHILE = 1000  # images; fewer are done before a second process has loaded its model
_POLL = 1.0  # seconds


def devices_of(asked: str) -> list[str]:
    """Return the devices that `asked` names; "auto" and "cuda" mean every GPU there is."""
    named = [part.strip() for part in asked.split(",") if part.strip()]
    if named in (["auto"], ["cuda"]):
        import torch

        count = torch.cuda.device_count()
        return [f"cuda:{number}" for number in range(count)] if count > 1 else named
    return named or ["auto"]


def embed_on_devices(
    settings: TeacherConfig,
    loader: Loader,
    devices: Sequence[str],
    images: Images,
    cache: EmbeddingCache,
    *,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> Embedded:
    """Do what `embed` does, with a process for each device, which loads what sees by `loader`.

    Images are dealt out in turn, and every process adds to the cache by itself: what is there when
    one of them dies is not done again.

    Raises:
        TeacherError: a process could not load the teacher, or died.
    """
    missing = list(missing_of(images, cache).items())
    total = len(images)
    known = total - len(missing)
    progress(known, total)
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    told: Queue[tuple[Any, ...]] = context.Queue()
    workers = []
    for number, device in enumerate(devices):
        share = missing[number :: len(devices)]
        own = settings.model_copy(update={"device": device})
        given = (number, own, loader, share, cache.folder.parent, max_pixels, told)
        workers.append(context.Process(target=_work, args=given, daemon=True))
        workers[-1].start()
    result = Embedded(computed=0)
    done = dict.fromkeys(range(len(workers)), 0)
    at_work = set(done)
    try:
        while at_work:
            try:
                kind, number, *facts = told.get(timeout=_POLL)
            except queue.Empty:
                for number in at_work:
                    if workers[number].exitcode is not None and told.empty():
                        raise TeacherError(
                            f"The process on {devices[number]} has died (exit status "
                            f"{workers[number].exitcode}). Run the same command again: it goes on "
                            "where it was."
                        ) from None
                continue
            if kind == "failed":
                raise TeacherError(f"On {devices[number]}: {facts[0]}")
            if kind == "progress":
                done[number] = facts[0]
                progress(known + sum(done.values()), total)
            else:
                result.computed += facts[0]
                result.failures |= facts[1]
                at_work.discard(number)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    cache.merge()
    return result


def run(
    viewer: Viewer,
    images: Images,
    cache: EmbeddingCache,
    max_pixels: int,
    progress: Progress,
) -> Embedded:
    """Do what `embed_on_devices` does, as the viewer's settings say: see `Engine`."""
    return embed_on_devices(
        viewer.settings,
        viewer.loader,
        devices_of(viewer.settings.device),
        images,
        cache,
        max_pixels=max_pixels,
        progress=progress,
    )


def is_worthwhile(devices: Sequence[str], images: int) -> bool:
    """Say whether a process on each device is sooner done than one on the first."""
    return len(devices) > 1 and images >= _WORTHWHILE


def _work(
    number: int,
    settings: TeacherConfig,
    loader: Loader,
    share: list[tuple[str, str]],
    root: Path,
    max_pixels: int,
    told: Queue[tuple[Any, ...]],
) -> None:
    """One process: embed a share."""
    try:
        sight = loader(settings)
        embedded = embed(
            sight,
            share,
            EmbeddingCache(root, sight.fingerprint, sight.name),
            batch=settings.batch,
            max_pixels=max_pixels,
            compiling=settings.compile,
            progress=lambda done, total: told.put(("progress", number, done)),
        )
    except Clip2YoloError as error:
        told.put(("failed", number, str(error)))
    else:
        told.put(("done", number, embedded.computed, embedded.failures))
