"""Checking images and hashing them.

A picture is known by the SHA-256 of its bytes. Scanning opens only headers; what turns out
undecodable when the teacher wants to see it is recorded later, by `with_failures`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.errors import SourceError
from pipeline.files import RACY
from pipeline.listener import Progress, no_progress
from pipeline.machine import cores
from pipeline.pixels import MAX_PIXELS, check_header
from pipeline.records import IMAGES, table

_CHUNK_FILES = 4096  # scanned together
_NAMED = 3  # of the bad files, how many a summary names


def scan(
    paths: Sequence[str | Path],
    known: pl.DataFrame | None = None,
    *,
    progress: Progress = no_progress,
    max_pixels: int = MAX_PIXELS,
) -> pl.DataFrame:
    """Hash and check files on threads; return a table with the schema `records.IMAGES`.

    A file whose path, size and modification time are those of `known`, the last scan's table,
    keeps its id without being opened. Its header is looked at again only where it was unreadable,
    since `max_pixels` may have been raised; a file that failed to decode stays failed. As in git's
    index, a file that was written in the moment it was hashed is not believed the next time: it may
    have been written again within the same tick of the clock.

    Of several files with the same bytes the first, by path, is "ok" and the others "duplicate".
    """
    parts = [pl.DataFrame(schema=IMAGES)]
    before = None if known is None else _remembered(known)
    with ThreadPoolExecutor(min(8, cores() + 2), "scan") as pool:
        for start in range(0, len(paths), _CHUNK_FILES):
            chunk = [str(path) for path in paths[start : start + _CHUNK_FILES]]
            nearby = None if before is None else _between(before, min(chunk), max(chunk))
            parts.append(_scan_chunk(chunk, nearby, max_pixels, pool))
            progress(start + len(chunk), len(paths))
    return _with_duplicates(pl.concat(parts, rechunk=True))


def _remembered(known: pl.DataFrame) -> pl.DataFrame:
    rows = known.filter(pl.col("id").is_not_null() & pl.col("mtime_ns").is_not_null())
    columns = rows.select("path", "bytes", "mtime_ns", "id", "status", "reason")
    return columns.unique("path").sort("path")


def _between(known: pl.DataFrame, first: str, last: str) -> pl.DataFrame:
    """The rows, sorted by path, from one path to another: no chunk is joined with all of them."""
    ends = pl.Series([name.encode("utf-8", "replace").decode() for name in (first, last)])
    start, stop = known["path"].search_sorted(ends)
    return known[start : stop + 1]


def _scan_chunk(
    paths: list[str], known: pl.DataFrame | None, max_pixels: int, pool: ThreadPoolExecutor
) -> pl.DataFrame:
    """Scan some files: those that are unchanged by a join, the others one by one."""
    if known is not None:
        states = [_state(path) for path in paths]
        found = pl.DataFrame(
            {
                "path": [
                    path if state else None for path, state in zip(paths, states, strict=True)
                ],
                "bytes": [state[0] if state else None for state in states],
                "mtime_ns": [state[1] if state else None for state in states],
            },
            schema={name: IMAGES[name] for name in ("path", "bytes", "mtime_ns")},
        )
        rows = found.join(
            known, on=["path", "bytes", "mtime_ns"], how="left", maintain_order="left"
        )
    else:
        rows = pl.DataFrame({"id": [None] * len(paths), "status": [None] * len(paths)})
    unchanged = rows["id"].is_not_null() & rows["status"].is_in(["ok", "duplicate"])
    if known is not None and unchanged.all():
        return _whole(rows.with_columns(status=pl.lit("ok"), reason=pl.lit(None, pl.String)))

    def look(index: int) -> dict[str, Any]:
        row = rows.row(index, named=True)
        return _look(paths[index], row if row["id"] else None, max_pixels)

    new = [index for index, same in enumerate(unchanged.to_list()) if not same]
    looked = table(list(pool.map(look, new)), IMAGES)
    if len(new) == len(paths):
        return looked
    kept = _whole(rows.with_columns(status=pl.lit("ok"), reason=pl.lit(None, pl.String)))
    order = np.argsort(np.array([*np.flatnonzero(unchanged.to_numpy()), *new]), kind="stable")
    return pl.concat([kept.filter(unchanged), looked]).select(pl.all().gather(order))


def _state(path: str) -> tuple[int, int] | None:
    """Size and modification time; None where the file, or its name, needs a closer look."""
    try:
        state = os.stat(path)
        path.encode("utf-8")
    except (OSError, ValueError):
        return None
    return state.st_size, state.st_mtime_ns


def _whole(rows: pl.DataFrame) -> pl.DataFrame:
    """Give rows all columns of `records.IMAGES`."""
    lacking = [name for name in IMAGES if name not in rows.columns]
    return rows.with_columns(pl.lit(None, IMAGES[name]).alias(name) for name in lacking).select(
        pl.col(name).cast(kind) for name, kind in IMAGES.items()
    )


def _with_duplicates(images: pl.DataFrame) -> pl.DataFrame:
    usable = pl.col("status") == "ok"
    first = pl.col("path").filter(usable).first().over("id")
    double = usable & ~pl.struct("id", "status").is_first_distinct()
    return images.with_columns(
        status=pl.when(double).then(pl.lit("duplicate")).otherwise("status"),
        reason=pl.when(double)
        .then(pl.format("It has the same bytes as {}.", first))
        .otherwise("reason"),
    )


def _look(path: str, before: Mapping[str, Any] | None, max_pixels: int) -> dict[str, Any]:
    """Hash one file and look at its header; `before` is its unreadable row, where unchanged."""
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    row: dict[str, Any] = dict.fromkeys(IMAGES) | {"path": shown, "status": "unreadable"}
    if shown != path:
        return row | {"reason": "Its name is not valid UTF-8; rename it."}
    try:
        state = os.stat(path)
        fresh = time.time_ns() - state.st_mtime_ns < RACY
        row |= {"bytes": state.st_size, "mtime_ns": None if fresh else state.st_mtime_ns}
        data = Path(path).read_bytes()  # once, for both
        row["id"] = before["id"] if before else hashlib.sha256(data).hexdigest()
        check_header(data, max_pixels)
        if before is not None and "max_pixels" not in (before["reason"] or ""):
            return row | {"reason": before["reason"]}
    except OSError as error:
        return row | {"reason": _os_reason(error)}
    except ValueError:
        return row | {"reason": "No file can have such a name."}
    except SourceError as error:
        return row | {"reason": str(error)}
    except MemoryError:
        return row | {"reason": "It is too large for the memory."}
    return row | {"status": "ok"}


def _os_reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "There is no such file."
    if isinstance(error, PermissionError):
        return "Reading it is not permitted."
    return f"It cannot be read ({error.strerror or type(error).__name__})."


def with_failures(images: pl.DataFrame, failures: Mapping[str, str]) -> pl.DataFrame:
    """Mark images that turned out undecodable, id → reason, and their duplicates with them."""
    if not failures:
        return images
    failed = pl.col("id").is_in(list(failures))
    reasons = pl.col("id").replace_strict(dict(failures), default=None, return_dtype=pl.String)
    return images.with_columns(
        status=pl.when(failed).then(pl.lit("unreadable")).otherwise("status"),
        reason=pl.when(failed).then(reasons).otherwise("reason"),
    )


def with_damaged(images: pl.DataFrame, damaged: Mapping[Path, str]) -> pl.DataFrame:
    """Add a row for each video that could not be read, or not wholly."""
    rows = [
        dict.fromkeys(IMAGES) | {"path": str(path), "status": "unreadable", "reason": why}
        for path, why in damaged.items()
    ]
    return pl.concat([images, table(rows, IMAGES)]) if rows else images


def describe(images: pl.DataFrame) -> str:
    """Return the scan's outcome as one line; the first few unreadable files are named."""
    counts = dict(images.group_by("status").len().iter_rows())
    parts = [f"{counts.get('ok', 0):,} usable"]
    if duplicates := counts.get("duplicate", 0):
        parts.append(f"{duplicates:,} exact duplicate{'s' if duplicates > 1 else ''}")
    if unreadable := counts.get("unreadable", 0):
        bad = images.filter(pl.col("status") == "unreadable").head(_NAMED)
        named = [f"{Path(path).name}: {why}" for path, why in bad.select("path", "reason").rows()]
        more = " …" if unreadable > _NAMED else ""
        parts.append(f"{unreadable:,} unreadable ({' '.join(named)}{more})")
    return f"Found {len(images):,} image{'s' if len(images) != 1 else ''}: {', '.join(parts)}."
