"""Accepted labels become a folder dataset, in splits that do not leak and do not move.

An image's split follows from its content and the seed alone, so a fresh run on another machine, or
tomorrow's run with more images, deals the same. Each class is dealt by the same rule, so its
shares come close to the asked ones as it grows. Near-duplicates share a split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.config import SplitsConfig


@dataclass(frozen=True)
class Assignment:
    """Where each image goes, in the order the images were given."""

    splits: list[str | None]  # None: left out, because it resembles images of two splits
    groups: pl.Series  # id of the near-duplicates' representative


def assign_splits(
    ids: Sequence[str] | pl.Series,
    pairs: np.ndarray,
    shares: SplitsConfig,
    seed: int,
    previous: pl.DataFrame | None = None,
) -> Assignment:
    """Give every image a split: near-duplicates the same one, old images the one they had.

    A group without old images takes the split that the hash of (seed, its smallest id) falls into.
    New images join the split of the old ones they resemble; one that resembles old images of two
    splits would leak whichever it joined, so it is left out.

    Args:
        ids: image ids, all different.
        pairs: near-duplicates as index pairs (k, 2).
        shares: of the three splits.
        seed: another seed deals anew.
        previous: columns id and split of an earlier export.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(ids)
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(links, directed=False)
    # As columns, not as lists and dicts: a million images must fit into little memory.
    if previous is None:
        previous = pl.DataFrame(schema={"id": pl.String, "split": pl.String})
    rows = pl.DataFrame({"id": pl.Series(ids, dtype=pl.String), "component": component}).join(
        previous.select("id", old="split"), "id", "left", maintain_order="left"
    )
    groups = rows.group_by("component").agg(
        group=pl.col("id").min(), old=pl.col("old").drop_nulls().unique()
    )
    dealt = groups.with_columns(
        split=pl.when(pl.col("old").list.len() == 1)
        .then(pl.col("old").list.first())
        .otherwise(
            pl.col("group").map_elements(
                lambda key: deal(key, shares, seed), return_dtype=pl.String
            )
        ),
        torn=pl.col("old").list.len() > 1,
    ).drop("old")
    rows = rows.join(dealt, "component", "left", maintain_order="left")
    splits = rows.select(pl.coalesce("old", "split")).to_series().to_list()
    _mend_torn(rows, pairs, splits, shares, seed)
    return Assignment(splits=splits, groups=rows["group"])


def _mend_torn(
    rows: pl.DataFrame,
    pairs: np.ndarray,
    splits: list[str | None],
    shares: SplitsConfig,
    seed: int,
) -> None:
    """Give the new images of groups with old ones in several splits a place of their own, in turn:
    that of the images they resemble themselves, or none."""
    torn = rows["torn"].to_numpy()
    if not torn.any():
        return
    neighbours: dict[int, list[int]] = {}
    for first, second in pairs[torn[pairs[:, 0]]].tolist():
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)
    ids = rows["id"]
    new = np.flatnonzero(torn & rows["old"].is_null().to_numpy()).tolist()
    for index in new:
        splits[index] = None
    for index in sorted(new, key=lambda row: str(ids[row])):
        near = {splits[other] for other in neighbours[index]} - {None}
        if len(near) <= 1:
            splits[index] = near.pop() if near else deal(ids[index], shares, seed)


def deal(key: str, shares: SplitsConfig, seed: int) -> str:
    """Return the split that a key's hash falls into: uniform over keys, fixed for each."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    if point < shares.train:
        return "train"
    return "valid" if point < shares.train + shares.valid else "test"
