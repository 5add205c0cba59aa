"""Which accepted image goes where: its split, its group and its file name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from pipeline.config import DatasetConfig
from pipeline.dataset.export import HEAD, file_name
from pipeline.dataset.splits import Assignment, assign_splits
from pipeline.images.films import frame_blocks, straddling
from pipeline.labels.near_duplicates import near_duplicates
from pipeline.records import DATASET
from pipeline.storage.reading import read_each
from pipeline.values import counted

_FEW = 10
_BLOCK = 50_000  # rows of a table that are Python objects at a time


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
    _give_every_split_its_classes(accepted["class"], accepted["id"], assignment, config, previous)
    if "video" in accepted.columns:
        for row in straddling(accepted, assignment.splits):
            assignment.splits[row] = None
    return (
        accepted.select("id", "path", "class")
        .with_columns(
            pl.Series("split", assignment.splits, dtype=pl.String),
            assignment.groups.alias("group"),
            _file_names(accepted, previous).alias("name"),
        )
        .filter(pl.col("split").is_not_null())
        .with_columns(file=pl.concat_str("split", "class", "name", separator="/"))
        .select(pl.col(name).cast(kind) for name, kind in DATASET.items())
    )


def warnings_about(plan: pl.DataFrame, classes: Sequence[str], left_out: int) -> list[str]:
    """Return one sentence for each thing about the dataset that a person should know."""
    sentences = []
    counts = dict(plan.group_by("class").len().iter_rows())
    none = [name for name in classes if not counts.get(name)]
    if none:
        sentences.append(
            f"No image was labeled as: {_some(none)}. Such a class gets no folder, and the student "
            "does not learn it. Add images, reword its prompts or lower `label.min_confidence`."
        )
    few = [f"{name} ({counts[name]})" for name in classes if 0 < counts.get(name, 0) < _FEW]
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
                f"{largest:,} of {len(plan):,} images count as near-duplicates of one another and "
                "share one split; if they are not, raise `dataset.near_duplicate`."
            )
    if left_out:
        sentences.append(
            f"Left out, as that would leak: {counted(left_out, 'image')} resembling images of two "
            "splits, or following a video frame that went to another one."
        )
    return sentences


def _give_every_split_its_classes(
    classes: pl.Series, ids: pl.Series, assignment: Assignment, config: DatasetConfig,
    previous: pl.DataFrame | None,
) -> None:  # fmt: skip
    """Move a group of images for each class that a split lacks, where there are groups enough.

    Folder readers number the classes by the folders of a split, so that one without a class shifts
    all that follow; and what is to be told apart must be learned. Of images that were exported
    before, only those of a class that train lacks are moved.
    """
    known = pl.Series("id", [] if previous is None else previous["id"], dtype=pl.String)
    rows = pl.DataFrame(
        {"class": classes, "split": pl.Series(assignment.splits, dtype=pl.String),
         "group": assignment.groups, "old": ids.is_in(known.implode())}
    ).filter(pl.col("split").is_not_null())  # fmt: skip
    groups = rows.group_by("class", "group").agg(pl.col("split").first(), pl.col("old").any())
    moved: dict[str, str] = {}
    for (_,), some in groups.sort("class", "group").group_by(["class"], maintain_order=True):
        there = dict(some.select("group", "split").iter_rows()) | {
            group: moved[group] for group in some["group"] if group in moved
        }
        fresh = set(some.filter(~pl.col("old"))["group"])
        if "train" not in there.values():
            moved[next(iter(there))] = there[next(iter(there))] = "train"
        for split in ("valid", "test"):
            free = [one for one, at in there.items() if at == "train" and one in fresh]
            more = list(there.values()).count("train") > 1
            if getattr(config.splits, split) and split not in there.values() and free and more:
                moved[free[0]] = there[free[0]] = split
    for row, group in enumerate(assignment.groups if moved else ()):
        if group in moved and assignment.splits[row] is not None:
            assignment.splits[row] = moved[group]


def _file_names(images: pl.DataFrame, previous: pl.DataFrame | None) -> pl.Series:
    """The name of each image's file; one that was exported before keeps its name unlooked at."""
    rows = images.select("id", "path")
    if previous is None or "file" not in previous.columns:
        rows = rows.with_columns(file=pl.lit(None, pl.String))
    else:
        before = previous.select("id", "path", "file").unique(["id", "path"])
        rows = rows.join(before, ["id", "path"], "left", maintain_order="left")
    blocks = [pl.Series([], dtype=pl.String)]
    for start in range(0, len(rows), _BLOCK):
        some = rows[start : start + _BLOCK]
        new = some.filter(pl.col("file").is_null())["path"].to_list()
        heads = read_each(new, HEAD)
        names = [
            file.rsplit("/", 1)[-1] if file else file_name(path, image_id, next(heads))
            for image_id, path, file in some.iter_rows()
        ]
        blocks.append(pl.Series(names, dtype=pl.String))
    return pl.concat(blocks)


def _some(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
