"""Accepted labels become a folder dataset, in splits that do not leak and do not move.

An image's split follows from its content and the seed alone, so a fresh run on another machine, or
tomorrow's run with more images, deals the same. Each class is dealt by the same rule, so its
shares come close to the asked ones as it grows. Near-duplicates share a split.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from pipeline.config import DatasetConfig, SplitsConfig
from pipeline.errors import SourceError
from pipeline.near_duplicates import near_duplicates
from pipeline.pixels import read_rgb
from pipeline.records import DATASET, SPLITS, Progress, no_progress
from pipeline.workspace import replacing

# What torchvision's ImageFolder, ultralytics and supervision all list and open.
_COMMON_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
_SUFFIX_OF_FORMAT = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp"}
_FEW = 10
_BLOCK = 50_000  # rows of a table that are Python objects at a time


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


def frame_blocks(images: pl.DataFrame) -> np.ndarray:
    """Return index pairs (k, 2) that tie the frames of one stretch of a video together.

    A stretch is a twentieth of the video, but between 1 and 10 seconds: short enough that a single
    short video still fills every split, and decided by the video alone.

    Args:
        images: columns video, seconds and length (of the whole video), null for stills.
    """
    stretches: dict[tuple[str, int], list[int]] = {}
    for row, (video, seconds, length) in enumerate(_frames(images)):
        if video is not None:
            stretches.setdefault((video, int(seconds // _stretch(length))), []).append(row)
    pairs = [pair for rows in stretches.values() for pair in itertools.pairwise(rows)]
    return np.array(pairs, np.int64).reshape(-1, 2)


def straddling(images: pl.DataFrame, splits: Sequence[str | None]) -> list[int]:
    """Return the rows of frames whose earlier neighbour in the video went to another split.

    Two frames are neighbours up to half a stretch apart; the later one is left out, so that no two
    frames on either side of a border show the same moment.
    """
    frames = [
        (video, seconds, length, row)
        for row, (video, seconds, length) in enumerate(_frames(images))
        if video is not None
    ]
    out: list[int] = []
    last: tuple[str, float, str | None] | None = None
    for video, seconds, length, row in sorted(frames):
        split = splits[row]
        near = last and last[0] == video and seconds - last[1] <= _stretch(length) / 2
        if near and last and split != last[2]:
            out.append(row)
        else:
            last = (video, seconds, split)
    return out


def _stretch(length: float) -> float:
    return min(10.0, max(1.0, length / 20))


def _frames(images: pl.DataFrame) -> list[tuple[str | None, float, float]]:
    return images.select("video", "seconds", "length").rows()


def plan_dataset(
    accepted: pl.DataFrame,
    vectors: np.ndarray | None,
    config: DatasetConfig,
    previous: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Decide split and file name of every accepted image.

    Args:
        accepted: columns id, path, class; one row a picture. With video, seconds and length (of
            the whole video, in seconds), frames of one stretch share a split.
        vectors: the teacher's unit vectors (n, dim), row by row; None where it gives none, so that
            near-duplicates cannot be found.
        config: shares, seed, near-duplicate threshold.
        previous: the table of an earlier export, whose splits stand.

    Returns:
        A table with the schema `records.DATASET`, without the images that had to be left out.
    """
    pairs = (
        np.empty((0, 2), np.int64)
        if config.near_duplicate is None or vectors is None
        else near_duplicates(vectors, config.near_duplicate)
    )
    if "video" in accepted.columns:
        # A fixed camera sees the same scene again and again: across a film, what is near in time
        # belongs together, not what looks alike, or the whole film would be one group.
        film = accepted["video"].to_numpy()
        same = (film[pairs[:, 0]] == film[pairs[:, 1]]) & (film[pairs[:, 0]] != None)  # noqa: E711
        pairs = np.concatenate([pairs[~same.astype(bool)], frame_blocks(accepted)])
    assignment = assign_splits(accepted["id"], pairs, config.splits, config.seed, previous)
    if "video" in accepted.columns:
        for row in straddling(accepted, assignment.splits):
            assignment.splits[row] = None
    return (
        accepted.select("id", "path", "class")
        .with_columns(
            pl.Series("split", assignment.splits, dtype=pl.String),
            assignment.groups.alias("group"),
            _file_names(accepted).alias("name"),
        )
        .filter(pl.col("split").is_not_null())
        .with_columns(file=pl.concat_str("split", "class", "name", separator="/"))
        .select(pl.col(name).cast(kind) for name, kind in DATASET.items())
    )


def export_dataset(
    plan: pl.DataFrame,
    classes: Sequence[str],
    folder: Path,
    *,
    files: str = "link",
    max_pixels: int = 100_000_000,
    progress: Progress = no_progress,
) -> None:
    """Write `folder/{train,valid,test}/<class>/…`, replacing an earlier export in one step.

    Bytes are hard-linked where the file system allows it and copied elsewhere, never re-encoded.
    Formats that dataset readers pass over in silence (GIF, AVIF, …) are the exception: they arrive
    as a PNG of exactly the pixels the teacher saw, since their bytes would not arrive at all.

    Args:
        plan: what `plan_dataset` decided.
        classes: every one gets a folder in every split, with images or without.
        files: "link" or "copy".

    Raises:
        SourceError: a source image has vanished or cannot be read any more.
    """
    with replacing(folder) as aside:
        for split in SPLITS:
            for name in classes:
                (aside / split / name).mkdir(parents=True)
        for done, (path, file) in enumerate(plan.select("path", "file").iter_rows(), start=1):
            source, target = Path(path), aside / file
            place_image(source, target, max_pixels, copy=files == "copy")
            progress(done, len(plan))


def place_image(source: Path, target: Path, max_pixels: int, copy: bool = False) -> None:
    """Put an image's bytes at `target`, or its pixels as PNG where dataset readers know no better.

    Raises:
        SourceError: it has vanished or cannot be read any more.
    """
    try:
        if target.suffix == ".png" and _true_suffix(source) is None:
            read_rgb(source, max_pixels).save(target)
        elif copy or not _link(source, target):
            shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise SourceError(
            f"{source} was labeled but is not there any more. Run `clip2yolo label` again."
        ) from error


def warnings_about(plan: pl.DataFrame, classes: Sequence[str], left_out: int) -> list[str]:
    """Return one sentence for each thing about the dataset that a person should know."""
    sentences = []
    counts = dict(plan.group_by("class").len().iter_rows())
    few = [f"{name} ({counts.get(name, 0)})" for name in classes if counts.get(name, 0) < _FEW]
    if few:
        sentences.append(
            f"Too few images to learn from (under {_FEW}): {_some(few)}. Add images, reword "
            "their prompts or lower `label.min_confidence`."
        )
    for split in ("valid", "test"):
        there = set(plan.filter(pl.col("split") == split)["class"])
        lacking = [name for name in classes if name not in there and counts.get(name, 0) >= _FEW]
        if lacking:
            sentences.append(f"The {split} split has no image of: {_some(lacking)}.")
    if len(plan):
        largest = plan.group_by("group").len()["len"].max()
        if isinstance(largest, int) and largest > max(20, len(plan) // 5):
            sentences.append(
                f"{largest} of {len(plan)} images count as near-duplicates of one another and share"
                " one split; if they are not, raise `dataset.near_duplicate`."
            )
    if left_out:
        sentences.append(
            f"{left_out} images were left out, since they would leak: they resemble images of two "
            "splits, or follow a video frame that went to another one."
        )
    return sentences


def _file_names(images: pl.DataFrame) -> pl.Series:
    blocks = [pl.Series([], dtype=pl.String)]
    for start in range(0, len(images), _BLOCK):
        rows = images[start : start + _BLOCK].select("id", "path").iter_rows()
        blocks.append(pl.Series([file_name(Path(path), one) for one, path in rows]))
    return pl.concat(blocks)


def _some(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def file_name(path: Path, one: str) -> str:
    """Return a name people recognize, made unique by the content, as `IMG_1-3f0a9c….jpg`."""
    stem = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", path.stem).strip(" .")
    # File systems count bytes: 60 characters of some scripts are more than a name may have.
    stem = stem[:60].encode()[:150].decode("utf-8", "ignore") or "image"
    return f"{stem}-{one[:12]}{_true_suffix(path) or '.png'}"


def _true_suffix(path: Path) -> str | None:
    """The suffix to keep the bytes under, or None where dataset readers know none for them."""
    suffix = path.suffix.lower()
    if suffix in _COMMON_SUFFIXES:
        return suffix
    try:
        with Image.open(path) as image:
            return _SUFFIX_OF_FORMAT.get(image.format or "")
    except FileNotFoundError as error:
        raise SourceError(
            f"{path} was labeled but is not there any more. Run `clip2yolo label` again."
        ) from error


def _link(source: Path, target: Path) -> bool:
    """Hard-link; False where this file system, or its rules, do not allow it."""
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EMLINK):
            return False
        raise
    return True
