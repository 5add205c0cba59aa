"""A shard, taken apart: a row for each image in it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.errors import SourceError
from pipeline.files import RACY
from pipeline.images.headers import looked_at, unreadable
from pipeline.images.kinds import is_picture_name
from pipeline.records import IMAGES, table
from pipeline.storage.address import shard_of
from pipeline.storage.filesystems import State
from pipeline.storage.reading import read_each, shard_state
from pipeline.storage.shards import entries_of


@dataclass(frozen=True)
class Shard:
    """A shard to be scanned."""

    place: str
    known: pl.DataFrame | None  # what the last scan says of it
    told: State | None  # its state, where that is known already


def file_of(shard: str) -> str:
    """Return the file or object that a shard is, whatever column of it is meant."""
    return (shard_of(shard) or (shard,))[0]


def by_shard(known: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the last scan's rows of each shard that it has taken apart, its own among them."""
    rows = known.filter(pl.col("path").str.contains(r"\.tar$|\.(?:tar|parquet)#"))
    rows = rows.with_columns(shard=pl.col("path").str.replace(r"(\.(?:tar|parquet))#.*$", "$1"))
    parts = rows.partition_by("shard", include_key=False, as_dict=True)
    return {str(shard): part for (shard,), part in parts.items()}


def scan_shard(shard: Shard, max_pixels: int) -> pl.DataFrame:
    """Hash and check the images in a shard; return a row for each, with the schema
    `records.IMAGES`, and one for the shard itself where it cannot be read to its end. One that is
    as it was is not read."""
    rows: list[dict[str, Any]] = []
    try:
        state = shard.told or shard_state(file_of(shard.place))
        fresh = time.time_ns() - state.changed_ns < RACY
        if shard.known is not None and not fresh:
            same = _unchanged_entries(shard.place, shard.known, state, max_pixels)
            if same is not None:
                return same
        about = {"mtime_ns": None if fresh else state.changed_ns}
        for place, data in entries_of(shard.place, is_picture_name):
            rows.append(looked_at(place, data, about, None, max_pixels))
    except (OSError, SourceError) as error:
        rows.append(dict.fromkeys(IMAGES) | unreadable(shard.place, error))
    if not rows:
        empty = SourceError("There is no image in it.")
        rows.append(dict.fromkeys(IMAGES) | unreadable(shard.place, empty))
    return table(rows, IMAGES)


def _unchanged_entries(
    shard: str, rows: pl.DataFrame, state: State, max_pixels: int
) -> pl.DataFrame | None:
    """What the last scan knows of a shard's images; None where the shard must be read.

    Those that were unreadable are looked at again, by themselves.
    """
    whole = (rows["mtime_ns"] == state.changed_ns).fill_null(False).all()
    if not whole or rows["id"].null_count() or shard in rows["path"]:
        return None
    bad = rows.filter(pl.col("status") == "unreadable")
    usable = rows.filter(pl.col("status") != "unreadable").with_columns(
        status=pl.lit("ok"), reason=pl.lit(None, pl.String)
    )
    about = {"mtime_ns": state.changed_ns}
    again = [
        looked_at(row["path"], data, about, row, max_pixels)
        for row, data in zip(
            bad.iter_rows(named=True), read_each(bad["path"].to_list()), strict=True
        )
    ]
    return pl.concat([usable, table(again, IMAGES)]) if again else usable
