"""Shards of a store that are read in every epoch: copied to the cache folder, once."""

from __future__ import annotations

import contextlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipeline.dataset.sharded import Sharded
from pipeline.errors import SourceError, WorkspaceError
from pipeline.files import cache_dir, fingerprint, let_go, long_unused, replacing, sweep
from pipeline.listener import Listener
from pipeline.storage.address import Place, is_address
from pipeline.storage.filesystems import get_file
from pipeline.values import counted

_LEARNED = ("train", "valid")  # splits that a student reads again and again
_SHARE = 0.5  # of the disk's free space that shards may take
_TOGETHER = 4  # shards that are copied side by side


@dataclass(frozen=True)
class Nearby:
    """The shards of one dataset in the cache folder."""

    folder: Path
    shards: int
    size: int  # bytes
    used: float  # seconds since 1970 when a student last began to read them


def brought_here(dataset: Sharded, listener: Listener) -> dict[str, Place]:
    """Return where the bytes of each image are: of what is learned from here, where it fits.

    A shard is named by its content, so that one that is here is not copied again, and after a stop
    those follow that are lacking. What the dataset has no longer goes. Where the disk has too
    little room, the student reads from the store, which is said.

    Raises:
        SourceError: the store cannot be asked, or has other shards by now.
    """
    root = dataset.depot.root
    if not is_address(root):
        return dataset.places()
    shards = dataset.table.select("shard", "shard_bytes").unique(maintain_order=True)
    wanted = {name: size for name, size in shards.rows() if name.split("/")[0] in _LEARNED}
    here = _root() / fingerprint(root)[:32]
    _tidy(here, set(wanted))
    lacking = {name: size for name, size in wanted.items() if _size_of(here / name) != size}
    if not _fits(sum(lacking.values()), root, listener):
        return dataset.places()
    if lacking:
        with listener.bar("Fetching", "shards") as progress, ThreadPoolExecutor(_TOGETHER) as pool:
            jobs = [
                pool.submit(_fetch, dataset.depot.place(name), here / name, size)
                for name, size in lacking.items()
            ]
            try:
                for done, job in enumerate(jobs, 1):
                    job.result()
                    progress(done, len(jobs))
            finally:
                for job in jobs:
                    job.cancel()
    here.mkdir(parents=True, exist_ok=True)
    os.utime(here)  # whoever clears the cache sees what is in use
    return dataset.places({name: str(here / name) for name in wanted})


def kept_shards() -> list[Nearby]:
    """Say what is kept here of datasets in stores, the most recently used first."""
    found = []
    for folder in _root().iterdir() if _root().is_dir() else ():
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        if not folder.name.startswith("."):
            found.append(Nearby(folder, len(sizes), sum(sizes), folder.stat().st_mtime))
    return sorted(found, key=lambda one: -one.used)


def clear_shards(unused_for: float | None = None, down_to: int | None = None) -> list[Nearby]:
    """Remove shards that were not used for long, or until little enough is left; a student that is
    to learn from them has them copied again.

    Args:
        unused_for: seconds.
        down_to: bytes; the longest unused go until the rest is not larger.

    Returns:
        What was removed.
    """
    removed = long_unused(kept_shards(), unused_for, down_to)
    for one in removed:
        let_go(one.folder)
    return removed


def _root() -> Path:
    return cache_dir() / "datasets"


def _tidy(folder: Path, names: set[str]) -> None:
    """Let go what the dataset has no longer, and what a killed copy has left."""
    for split in _LEARNED:
        sweep(folder / split)
        for path in (folder / split).iterdir() if (folder / split).is_dir() else ():
            if path.is_file() and f"{split}/{path.name}" not in names:
                path.unlink(missing_ok=True)


def _size_of(file: Path) -> int | None:
    with contextlib.suppress(OSError):
        return file.stat().st_size
    return None


def _fits(size: int, root: str, listener: Listener) -> bool:
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if size <= _SHARE * free:
        return True
    listener.warn(
        f"The student reads {root} in every epoch: {size / 1e9:,.1f} GB are too much for half of "
        f"the {free / 1e9:,.1f} GB that are free at {cache}. Set CLIP2YOLO_CACHE to a folder with "
        "more room, and they are fetched once."
    )
    return False


def _fetch(place: str, file: Path, size: int) -> None:
    try:
        with replacing(file) as aside:
            get_file(place, aside)
            if (found := aside.stat().st_size) != size:
                raise WorkspaceError(
                    f"{place} has {counted(found, 'byte')} and had {size:,}: it was changed. Run "
                    "`clip2yolo label`: it writes again what is missing."
                )
    except (FileNotFoundError, PermissionError) as error:
        if is_address(str(error.filename)):
            raise SourceError(f"{place} cannot be fetched: {error.strerror}.") from error
        raise
