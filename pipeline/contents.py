"""What files hold, by SHA-256, without reading them again as long as nothing has touched them.

Sizes and times decide whether a file is read, as in git's index; what is compared is the content.
So a fresh checkout, in which every file has a new time, is found to hold nothing new.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.paths import cache_dir
from pipeline.workspace import write_json

# Nanoseconds: the coarsest clock of a file system still in use (FAT). A file that was written in
# the moment it was hashed may be written again within the same tick.
RACY = 2 * 10**9
_REMEMBERED = 100_000  # files


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
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
