"""Parquet shards of vectors, in a folder or below an address: written whole, never changed.

A shard is named after the images in it, so that whoever does the same work again writes the same
file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.errors import SourceError
from pipeline.files import fingerprint, replacing
from pipeline.storage.address import Place, is_address, joined
from pipeline.storage.filesystems import listed, put
from pipeline.storage.reading import read_bytes


def shard_place(folder: Place, ids: Sequence[str]) -> str:
    """Return the place of the shard of these images."""
    name = f"{fingerprint(list(ids))[:32]}.parquet"
    return joined(str(folder), name) if is_address(folder) else str(Path(folder) / name)


def write_shard(
    folder: Place, ids: Sequence[str], vectors: np.ndarray, failures: dict[str, str]
) -> str:
    """Write the vectors (n, dim) float32 of images; returns the shard's place.

    Args:
        folder: a path or an address.
        ids: of the images with a vector.
        failures: id → why an image has none.

    Raises:
        OSError, SourceError: it cannot be written.
    """
    seen = pl.DataFrame(
        {
            "id": pl.Series(ids, dtype=pl.String),
            "vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])),
        }
    )
    unseen = pl.DataFrame(
        {"id": list(failures), "reason": list(failures.values())},
        {"id": pl.String, "reason": pl.String},
    )
    table = pl.concat([seen, unseen], how="diagonal")
    place = shard_place(folder, table["id"].to_list())
    data = io.BytesIO()
    table.write_parquet(data, compression="uncompressed")  # there is nothing to be saved
    if is_address(place):
        put(place, data.getvalue())
    else:
        with replacing(Path(place)) as aside:
            aside.write_bytes(data.getvalue())
    return place


def read_shard(place: str) -> tuple[list[str], np.ndarray]:
    """Return the ids and the vectors (n, dim) float32 of a shard's images that have one.

    Raises:
        OSError, SourceError: it cannot be read, or is damaged.
    """
    try:
        table = pl.read_parquet(io.BytesIO(read_bytes(place))).drop_nulls("vector")
        return table["id"].to_list(), table["vector"].to_numpy()
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise SourceError(
            f"{place} is damaged. Delete it and run the same command again."
        ) from error


def shards_in(folder: Place) -> list[str]:
    """Return the places of all shards in a folder or below an address.

    Raises:
        SourceError: it cannot be listed.
    """
    if is_address(folder):
        return [place for place in listed(str(folder)) if place.endswith(".parquet")]
    return sorted(map(str, Path(folder).glob("*.parquet")))
