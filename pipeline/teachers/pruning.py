"""What the embedding cache holds, teacher by teacher, and how it becomes smaller."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import let_go, long_unused
from pipeline.teachers.cache import ABOUT, IDS


@dataclass(frozen=True)
class CacheEntry:
    """One teacher's part of the cache."""

    fingerprint: str
    teacher: str  # its name, or "unknown" for folders of earlier versions
    images: int  # or sentences
    size: int  # bytes on disk
    used: float  # seconds since 1970 when a run last looked into it


def cache_entries(root: Path) -> list[CacheEntry]:
    """Return what the cache holds, the most recently used first."""
    entries = []
    for folder in root.iterdir() if root.is_dir() else ():
        if not folder.is_dir():
            continue
        try:
            teacher = json.loads((folder / ABOUT).read_text("utf-8"))["teacher"]
        except (OSError, ValueError, KeyError, TypeError):
            teacher = "unknown"
        sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        header = 128  # bytes, of a .npy file
        images = sum(
            (size - header) // 32 for path, size in sizes.items() if path.name.endswith(IDS)
        )
        used = folder.stat().st_mtime
        entries.append(CacheEntry(folder.name, teacher, images, sum(sizes.values()), used))
    return sorted(entries, key=lambda entry: -entry.used)


def prune(
    root: Path, *, unused_for: float | None = None, down_to: int | None = None
) -> list[CacheEntry]:
    """Remove teachers' vectors that were not used for long, or until little enough is left.

    Args:
        root: folder of all teachers' caches.
        unused_for: seconds; what no run has looked into for longer goes.
        down_to: bytes; the longest unused go until the rest is not larger.

    Returns:
        What was removed.
    """
    removed = long_unused(cache_entries(root), unused_for, down_to)
    for entry in removed:
        let_go(root / entry.fingerprint)
    return removed
