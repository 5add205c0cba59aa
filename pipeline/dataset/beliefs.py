"""What a student may learn of every image: labels, what is believed of undecided images, and which
images are of none of the dataset's classes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import polars as pl

from pipeline.images.films import near_frames
from pipeline.labels.near_duplicates import resembling
from pipeline.records import BELIEFS


def plan_beliefs(
    labels: pl.DataFrame,
    plan: pl.DataFrame,
    classes: Sequence[str],
    *,
    left_out: str | None = None,
    nothing: Collection[str] = (),
    limit: float | None = None,
) -> pl.DataFrame:
    """Say what each image that may teach is believed to be.

    An image of the train split teaches its label's probabilities; what a person decided is certain.
    An undecided one teaches what is believed of it, and counts as outside where a person said that
    it is of no class, where it fits none, or where its likeliest class has no folder. What is in
    valid or test, or would have leaked, is not among them.

    Args:
        labels: columns id, path, class, guess, unlike, probabilities and decision of
            `records.LABELS`; nothing that was audited.
        plan: dataset.parquet.
        classes: of the probabilities.
        left_out: the background class, where the dataset leaves it out.
        nothing: ids of images that a person said to be of none of the classes.
        limit: of `unlike`, from which an image fits no class; None: there is none.

    Returns:
        A table with the schema `records.BELIEFS`, sorted by id. Undecided images that resemble
        some of valid or test are among them still: see `without_leaks`.
    """
    known = sorted(plan["class"].unique())
    columns = np.array([classes.index(name) for name in known])
    train = plan.filter(pl.col("split") == "train").select("id", "file")
    rows = (
        labels.join(train, "id", "left")
        .with_columns(open=pl.col("class").is_null() | pl.col("class").eq_missing(pl.lit(left_out)))
        .filter(pl.col("file").is_not_null() | pl.col("open"))
        .sort("id")
    )
    of_none = pl.col("id").is_in(list(nothing))
    strange = pl.lit(False) if limit is None else pl.col("unlike").cast(pl.Float64) >= limit
    outside = of_none | strange | ~pl.col("guess").is_in(known) | pl.col("class").is_not_null()
    rows = rows.with_columns(
        kind=pl.when(pl.col("file").is_not_null())
        .then(pl.lit("label"))
        .when(outside)
        .then(pl.lit("outside"))
        .otherwise(pl.lit("belief")),
        human=(pl.col("decision") == "human") | of_none,
        **{"class": pl.when(pl.col("file").is_not_null()).then("class")},
    )
    shares = _shares(rows["probabilities"], len(classes))[:, columns]
    shares[(rows["kind"] == "outside").to_numpy()] = 1.0
    sure = np.flatnonzero((rows["human"] & (rows["kind"] == "label")).to_numpy())
    decided = rows["class"].gather(sure)
    shares[sure] = 0.0
    shares[sure, np.searchsorted(known, decided.to_list())] = 1.0
    shares /= shares.sum(axis=1, keepdims=True)
    return rows.with_columns(
        probabilities=pl.Series(shares, dtype=pl.Array(pl.Float32, len(known))),
        weight=pl.lit(1.0),
    ).select(pl.col(name).cast(kind) for name, kind in BELIEFS.items())


def without_leaks(
    beliefs: pl.DataFrame,
    plan: pl.DataFrame,
    vectors_of: Callable[[pl.DataFrame], np.ndarray | None],
    with_video: Callable[[pl.DataFrame], pl.DataFrame],
    threshold: float | None,
) -> pl.DataFrame:
    """Leave out what is not in the dataset and resembles images of valid or test, or is a frame
    near one of theirs: a student would be chosen and judged on what it has seen.

    Args:
        beliefs: what `plan_beliefs` returned.
        plan: dataset.parquet.
        vectors_of: gives the teacher's unit vectors of images; None where it gives none.
        with_video: adds the columns video, seconds and length, where there are frames of films.
        threshold: `dataset.near_duplicate`; None: what looks alike is not the same.
    """
    is_open = pl.col("file").is_null()
    rows = with_video(beliefs.filter(is_open).select("id", "path"))
    held = with_video(plan.filter(pl.col("split") != "train").select("id", "path"))
    if rows.is_empty() or held.is_empty():
        return beliefs
    leaks, films = np.zeros(len(rows), bool), None
    if "video" in rows.columns:
        leaks |= np.array(near_frames(rows, held), bool)
        both = pl.concat([rows["video"], held["video"]])
        films = both.rank("dense").fill_null(0).cast(pl.Int64).to_numpy() - 1
    if threshold is not None:
        vectors = vectors_of(pl.concat([rows, held]).select("id", "path"))
        if vectors is not None:
            leaks |= resembling(vectors, len(rows), threshold, films)
    return beliefs.filter(~pl.col("id").is_in(rows["id"].filter(pl.Series(leaks)).implode()))


def _shares(lists: pl.Series, classes: int) -> np.ndarray:
    """Probabilities as a matrix (n, classes) float64."""
    return lists.explode().to_numpy().reshape(-1, classes).astype(np.float64)
