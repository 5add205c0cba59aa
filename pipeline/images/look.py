"""Looking at a run's sources: what there is, without changing anything."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.cluster import connected, mapped
from pipeline.errors import WorkspaceError
from pipeline.images.frames import extract_all, known_frames, with_frames
from pipeline.images.scan import Mapped, scan, with_damaged
from pipeline.images.sources import find_sources
from pipeline.records import IMAGES, read_table
from pipeline.run.stage import Run
from pipeline.storage.address import is_address

_FEW = 4  # shards, or batches of objects: done before a cluster has begun


@dataclass(frozen=True)
class Looked:
    """What lies in a run's sources."""

    images: pl.DataFrame  # with the schema `records.IMAGES`
    left_out: list[str]  # what was not taken, a sentence for each sort


def extract_frames(run: Run, frames: Path | None = None) -> None:
    """Write the frames of the run's videos, where they are not there yet.

    Frames of other videos and samplings are removed, so the caller holds the workspace's lock.

    Args:
        run: whose videos.
        frames: folder for them, by default the workspace's.

    Raises:
        SourceError: a source does not exist or holds nothing.
    """
    found = find_sources(run.config.sources, run.workspace.root)
    root = frames or run.workspace.frames
    extract_all(found.films, root, run.config.max_pixels, run.listener)


def look_at_images(run: Run, frames: Path | None = None) -> Looked:
    """Find and hash the run's images.

    Files known from the last time are not opened again, unless `run.verify` asks for it.

    Args:
        run: whose sources.
        frames: where `extract_frames` has put its videos' frames, by default into the workspace.

    Raises:
        SourceError: a source holds nothing that can be used.
        WorkspaceError: frames of a video are not there yet.
    """
    config = run.config
    found = find_sources(config.sources, run.workspace.root)
    root = frames or run.workspace.frames
    framed, damaged = known_frames(found.films, root, config.max_pixels)
    with run.listener.bar("Scanning", "files") as progress, _spread(run) as spread:
        images = scan(
            [*found.images, *(str(frame.path) for frame in framed)],
            None if run.verify else _last_scan(run),
            states=found.states,
            progress=progress,
            max_pixels=config.max_pixels,
            spread=spread if any(map(is_address, found.images)) else None,
        )
    return Looked(with_damaged(with_frames(images, framed), damaged), found.sentences())


@contextlib.contextmanager
def looked_at_aside(run: Run) -> Iterator[Looked]:
    """Yield what `look_at_images` returns, also where frames were not extracted yet: they are then
    written to a folder that goes with the block, and the run stays as it was.

    Raises:
        SourceError: a source holds nothing that can be used.
    """
    with contextlib.ExitStack() as stack:
        try:
            looked = look_at_images(run)
        except WorkspaceError:
            made = tempfile.TemporaryDirectory(prefix="clip2yolo-frames-")
            frames = Path(stack.enter_context(made))
            extract_frames(run, frames)
            looked = look_at_images(run, frames)
        yield looked


@contextlib.contextmanager
def _spread(run: Run) -> Iterator[Mapped | None]:
    """Yield what has a scan done by the run's cluster; None where it has none. Nobody is connected
    before there is much to do: to look at a run that is as it was shall take no cluster."""
    label = run.config.label
    if label.engine != "ray":
        yield None
        return
    with contextlib.ExitStack() as stack:

        def spread(work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
            if len(items) < _FEW:
                return map(work, items)
            stack.enter_context(connected(label.address))
            return mapped(work, items)

        yield spread


def _last_scan(run: Run) -> pl.DataFrame | None:
    if not run.workspace.images.is_file():
        return None
    try:
        return read_table(run.workspace.images, IMAGES, "label")
    except WorkspaceError as error:
        run.listener.warn(f"{error} All images are hashed anew.")
        return None
