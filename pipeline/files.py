"""Whole files: where they are kept, how they are replaced in one step, what they hold.

A file is written beside its place and renamed into it, so that whatever moment a process is killed
at, what lies there is whole. Contents are compared by SHA-256; sizes and times decide whether a
file is read for it, as in git's index, so a fresh checkout, in which every file has a new time, is
found to hold nothing new.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from pipeline.errors import ConfigError

# Nanoseconds: the coarsest clock of a file system still in use (FAT). A file that was written in
# the moment it was hashed may be written again within the same tick.
RACY = 2 * 10**9
_REMEMBERED = 100_000  # files
_IN_MEMORY = 256 << 20  # bytes of a matrix that is built up; a larger one is a file
_ASIDE = ".tmp-"  # in the names of temporary folders
_ALIVE = "alive.lock"  # in each of them, held by the process that writes there


def expanded(path: Path) -> Path:
    """Return the path with `~` and `~user` spelled out.

    Raises:
        ConfigError: there is no such user, or nobody knows where the home folder is.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{path} begins with a home folder that is not known here. Write the whole path, or "
            "set `HOME`."
        ) from None


def cache_dir() -> Path:
    """Return the cache folder: `CLIP2YOLO_CACHE`, or the platform's place for caches.

    Raises:
        ConfigError: none is named, and there is no home folder to put it into.
    """
    if chosen := os.environ.get("CLIP2YOLO_CACHE"):
        return expanded(Path(chosen)).absolute()
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        raise ConfigError(
            "There is no home folder to keep the cache in. Set `CLIP2YOLO_CACHE` to a folder that "
            "can be written to."
        ) from None
    return base.absolute() / "clip2yolo"


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the operating system name the path that is read or written here; of its own
    accord it does so for opening a file, and not for what comes after."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` in one step.

    The temporary path keeps the suffix, so that writers that look at it still work. On an error
    nothing has changed and the temporary file or folder is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}{_ASIDE}", dir=path.parent))
    aside = holder / path.name
    alive = FileLock(holder / _ALIVE)
    try:
        with naming(path):
            alive.acquire()
            yield aside
            if aside.is_dir() and path.is_dir():
                # A folder cannot be renamed over a folder: the old one steps aside first.
                path.replace(holder / "old")
            elif aside.is_file():
                with aside.open("rb+") as file:
                    os.fsync(file.fileno())
            aside.replace(path)
    finally:
        alive.release()
        shutil.rmtree(holder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left behind of `replacing` in a folder. What another process is
    writing at this moment stays: it holds a lock, which falls with it."""
    for holder in folder.glob(f".*{_ASIDE}*") if folder.is_dir() else ():
        alive = FileLock(holder / _ALIVE)
        try:
            alive.acquire(timeout=0)
        except (Timeout, OSError):
            continue
        shutil.rmtree(holder, ignore_errors=True)
        alive.release()


class Stored(Protocol):
    """Something in the cache."""

    @property
    def size(self) -> int:
        """Bytes on disk."""

    @property
    def used(self) -> float:
        """Seconds since 1970 when it was last looked into."""


_S = TypeVar("_S", bound=Stored)


def long_unused(
    stored: Sequence[_S], unused_for: float | None = None, down_to: int | None = None
) -> list[_S]:
    """Return what is to go of what the cache stores, the longest unused first.

    Args:
        stored: all of a sort.
        unused_for: seconds; what was not looked into for longer goes.
        down_to: bytes; the longest unused go until the rest is not larger.
    """
    waiting = sorted(stored, key=lambda one: one.used)
    left, now, gone = sum(one.size for one in waiting), time.time(), []
    for one in waiting:
        old = unused_for is not None and now - one.used > unused_for
        if not old and (down_to is None or left <= down_to):
            break
        gone.append(one)
        left -= one.size
    return gone


def let_go(folder: Path) -> None:
    """Remove a folder of the cache. It is renamed first, so that whoever begins to look into it now
    begins anew and finds no half of it."""
    doomed = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def stacked(
    blocks: Iterable[np.ndarray], rows: int, folder: Path, in_memory: int = _IN_MEMORY
) -> np.ndarray:
    """Return blocks of rows below one another, as one matrix.

    Args:
        blocks: matrices of one width and type, that have `rows` rows together.
        rows: at least one.
        folder: a matrix of more bytes than `in_memory` is a map of a file in it, which has no name
            and goes with the matrix.
        in_memory: bytes.
    """
    waiting = iter(blocks)
    first = next(waiting)
    if rows * first[:1].nbytes <= in_memory:
        return np.concatenate([first, *waiting])
    with tempfile.TemporaryFile(dir=folder) as file, naming(folder):
        for block in itertools.chain([first], waiting):
            file.write(np.ascontiguousarray(block).data)
        file.flush()
        return np.memmap(file, first.dtype, "r", shape=(rows, first.shape[1]))


def write_text(path: Path, text: str) -> None:
    """Replace a text file (UTF-8) in one step."""
    with replacing(path) as aside:
        aside.write_text(text, "utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 of the parts as canonical JSON; equal parts give equal fingerprints."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, read piece by piece."""
    digest = hashlib.sha256()
    with naming(path), path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def hashes_of(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file, from the cache where its size and time are known.

    Raises:
        OSError: one of them cannot be read.
    """
    memory = cache_dir() / "contents.json"
    try:
        known: dict[str, list[str | int]] = dict(json.loads(memory.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}
    found, learned = [], False
    for path in paths:
        state = path.stat()
        name = os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")
        match known.get(name):
            case [str(digest), state.st_size, state.st_mtime_ns]:
                pass
            case _:
                digest = sha256_of(path)
                if time.time_ns() - state.st_mtime_ns > RACY:
                    known[name] = [digest, state.st_size, state.st_mtime_ns]
                    learned = True
        found.append(digest)
    if learned:
        with contextlib.suppress(OSError):  # where nothing can be kept, files are read again
            write_json(memory, dict(list(known.items())[-_REMEMBERED:]))
    return found


def names_and_hashes(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """Name and SHA-256 of each path that is a file; what is none is a model's name, say."""
    files = [path for path in paths if path.is_file()]
    return list(zip((path.name for path in files), hashes_of(files), strict=True))
