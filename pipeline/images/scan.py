"""Checking images and hashing them.

A picture is known by the SHA-256 of its bytes. Scanning opens only headers; what turns out
undecodable when the teacher wants to see it is recorded later, by `with_failures`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from pipeline.images.headers import Group, look_at, state_at
from pipeline.images.shards import Shard, by_shard, file_of, scan_shard
from pipeline.listener import Progress, no_progress
from pipeline.machine import cores
from pipeline.pixels import MAX_PIXELS
from pipeline.records import IMAGES, table
from pipeline.storage.address import is_file_place, name_of, shard_of
from pipeline.storage.filesystems import State

_CHUNK_FILES = 4096  # scanned together
_CHUNK_SPREAD = 1 << 18  # the same, where others look
_TOGETHER = 32  # objects of a store that are fetched side by side
_NAMED = 3  # of the bad files, how many a summary names

States = Mapping[str, State]
Mapped = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]  # as the built-in `map`


def scan(
    paths: Sequence[str | Path],
    known: pl.DataFrame | None = None,
    *,
    states: States = MappingProxyType({}),
    progress: Progress = no_progress,
    max_pixels: int = MAX_PIXELS,
    spread: Mapped | None = None,
) -> pl.DataFrame:
    """Hash and check files on threads; return a table with the schema `records.IMAGES`.

    A file whose path, size and modification time are those of `known`, the last scan's table,
    keeps its id without being opened. Its header is looked at again only where it was unreadable,
    since `max_pixels` may have been raised; a file that failed to decode stays failed. As in git's
    index, a file that was written in the moment it was hashed is not believed the next time: it may
    have been written again within the same tick of the clock.

    A shard (see `pipeline.storage`) becomes a row for each image in it, whose time is the shard's,
    and a further one where it cannot be read to its end.

    Of several files with the same bytes the first, by path, is "ok" and the others "duplicate".

    Args:
        paths: places of images and shards.
        states: what is known already of objects in a store, which are then not asked for it.
        spread: has the work done elsewhere, as `pipeline.cluster.mapped` does.
    """
    parts = [pl.DataFrame(schema=IMAGES)]
    before = None if known is None else _remembered(known)
    places = [str(path) for path in paths]
    images = [place for place in places if shard_of(place) is None]
    shards = [place for place in places if shard_of(place) is not None]
    with ThreadPoolExecutor(min(8, cores() + 2), "scan") as pool:
        mapped = spread or pool.map
        chunk_files = _CHUNK_FILES if spread is None else _CHUNK_SPREAD
        for start in range(0, len(images), chunk_files):
            chunk = images[start : start + chunk_files]
            nearby = None if before is None else _between(before, min(chunk), max(chunk))
            parts.append(_scan_chunk(chunk, nearby, states, max_pixels, pool, mapped))
            progress(start + len(chunk), len(places))
        of_shard = {} if known is None else by_shard(known)
        items = [Shard(one, of_shard.get(file_of(one)), states.get(file_of(one))) for one in shards]
        looked = mapped(partial(scan_shard, max_pixels=max_pixels), items)
        for number, rows in enumerate(looked, 1):
            parts.append(rows)
            progress(len(images) + number, len(places))
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
    paths: list[str],
    known: pl.DataFrame | None,
    told: States,
    max_pixels: int,
    pool: ThreadPoolExecutor,
    mapped: Mapped,
) -> pl.DataFrame:
    """Scan some files: those that are unchanged by a join, the others one by one."""
    if known is not None:
        asked = any(not is_file_place(path) and path not in told for path in paths)
        states = list((pool.map if asked else map)(lambda path: state_at(path, told), paths))
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

    new = [index for index, same in enumerate(unchanged.to_list()) if not same]

    step = _TOGETHER if any(not is_file_place(paths[index]) for index in new) else 1
    before = [row if row["id"] else None for row in rows[new].iter_rows(named=True)]
    groups = []
    for start in range(0, len(new), step):
        there = [paths[index] for index in new[start : start + step]]
        told_of = {one: told[one] for one in there if one in told}
        groups.append(Group(there, before[start : start + step], told_of))
    seen = mapped(partial(look_at, max_pixels=max_pixels), groups)
    looked = table([row for some in seen for row in some], IMAGES)
    if len(new) == len(paths):
        return looked
    kept = _whole(rows.with_columns(status=pl.lit("ok"), reason=pl.lit(None, pl.String)))
    order = np.argsort(np.array([*np.flatnonzero(unchanged.to_numpy()), *new]), kind="stable")
    return pl.concat([kept.filter(unchanged), looked]).select(pl.all().gather(order))


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
        named = [f"{name_of(path)}: {why}" for path, why in bad.select("path", "reason").rows()]
        more = " …" if unreadable > _NAMED else ""
        parts.append(f"{unreadable:,} unreadable ({' '.join(named)}{more})")
    return f"Found {len(images):,} image{'s' if len(images) != 1 else ''}: {', '.join(parts)}."
