"""Held-out images that look like learned ones: a photo that was saved again is no new photo."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from PIL import Image

from pipeline.dataset.stage import vectors_of
from pipeline.errors import SourceError
from pipeline.evaluation.analysis_record import LookAlike, LookAlikes
from pipeline.evaluation.metrics import proportion
from pipeline.evaluation.sample import Sample, films_of, refuse_nothing
from pipeline.labels.near_duplicates import closest
from pipeline.machine import cores
from pipeline.pixels import read_rgb
from pipeline.pool import work_ahead
from pipeline.run.stage import Run
from pipeline.student.stage import learned_by

LEFT_OUT = "that look like images the student was trained or chosen on"

_SAME = 0.999  # cosine from which two vectors are of one picture, saved twice
_SMALL = (24, 24)  # pixels, where there are no vectors to compare
_PAIRS = 100  # that are told


@dataclass(frozen=True)
class Resemblance:
    """How much images look like what the student has learned."""

    nearest: list[str | None]  # (n,) path of the learned image; None where there is none
    similarity: np.ndarray  # (n,) cosine with it
    learned: int  # images that they were compared with
    seen_by: str  # in words
    threshold: float

    @property
    def alike(self) -> np.ndarray:
        """Whether each image looks like a learned one, (n,) bool."""
        found: np.ndarray = self.similarity >= self.threshold
        return found


def resemblance(
    run: Run,
    plan: pl.DataFrame,
    images: pl.DataFrame,
    examples: pl.DataFrame,
    films: bool = False,
) -> Resemblance:
    """Compare images with those that the student was trained or chosen on, and with the examples: a
    photo that was saved again has other bytes and is not held out for that.

    What counts as alike is what counts for the splits, `dataset.near_duplicate`; where that is
    null, the same picture. Where the teacher gives no vectors, the pictures themselves are
    compared, made small.

    Args:
        run: at work.
        plan: dataset.parquet.
        images: (n,) columns id and path; none of them is in the parts of `plan` that are learned.
        examples: what the teacher was shown; columns id and path.
        films: frames of one film are not compared, as for the splits: a fixed camera sees the same
            scene again and again, and what is near in time was kept apart.

    Raises:
        SourceError: images have changed since they were labeled.
    """
    shown = examples.select("id", "path")
    both = pl.concat([images.select("id", "path"), learned_by(run, plan), shown])
    both = both.unique("id", keep="first", maintain_order=True)
    threshold, seen_by = run.config.dataset.near_duplicate or _SAME, "the teacher's vectors"
    vectors = vectors_of(run, both)
    if vectors is None:
        vectors, threshold = _small_pictures(both, run.config.max_pixels), _SAME
        seen_by = "the pictures themselves, made small"
    numbers = None
    if films:
        of_film = pl.Series(films_of(run, both["path"].to_list()), dtype=pl.String)
        numbers = of_film.rank("dense").fill_null(0).cast(pl.Int64).to_numpy() - 1
    rows, similarity = closest(vectors, len(images), numbers)
    nearest = [None if row < 0 else both["path"][row] for row in rows.tolist()]
    return Resemblance(nearest, similarity, len(both) - len(images), seen_by, threshold)


@dataclass(frozen=True)
class Found:
    """The look-alikes of a sample, and which of the images that are left are some."""

    figures: LookAlikes
    alike: np.ndarray  # (images of the sample as it is now,) bool

    def judged(self, right: np.ndarray) -> LookAlikes:
        """Return the figures with how the student does on them, where they were kept.

        Args:
            right: whether it is right on each image of the sample, (n,).
        """
        if not self.alike.any():
            return self.figures
        parts = (right[self.alike], right[~self.alike])
        on_alike, on_others = (proportion(int(part.sum()), len(part)) for part in parts)
        return replace(self.figures, on_alike=on_alike, on_others=on_others)


def settle_look_alikes(
    run: Run, plan: pl.DataFrame, sample: Sample, examples: pl.DataFrame
) -> Found:
    """Find what looks like an image that the student was trained or chosen on, or like an example,
    and take it out of the sample, unless the config says `evaluate: {look_alikes: keep}`.

    Args:
        run: at work.
        plan: dataset.parquet.
        sample: made smaller.
        examples: what the teacher was shown; columns id and path.

    Raises:
        SourceError: no image is left.
    """
    keep = run.config.evaluate.look_alikes == "keep"
    paths = [str(path) for path in sample.paths]
    found = resemblance(run, plan, sample.table(), examples, films=sample.truth is None)
    alike, count = found.alike, int(found.alike.sum())
    figures = LookAlikes(
        count=count,
        left_out=0 if keep else count,
        compared=len(paths),
        learned=found.learned,
        seen_by=found.seen_by,
        threshold=found.threshold,
        pairs=_pairs(paths, found),
    )
    if count:
        done = "and are evaluated on all the same" if keep else "and are not evaluated on"
        run.listener.warn(
            f"{count:,} of {len(alike):,} images of {sample.source} look like images that the "
            f"student was trained or chosen on, {done}."
        )
    if keep:
        return Found(figures, alike)
    sample.keep((~alike).tolist(), LEFT_OUT)
    refuse_nothing(sample, "or set `evaluate: {look_alikes: keep}`")
    return Found(figures, np.zeros(len(sample.ids), bool))


def _pairs(paths: Sequence[str], found: Resemblance) -> list[LookAlike]:
    rows = np.flatnonzero(found.alike)
    closest_first = rows[np.argsort(-found.similarity[rows], kind="stable")][:_PAIRS]
    return [
        LookAlike(nearest, paths[row], min(1.0, round(float(found.similarity[row]), 4)))
        for row in closest_first.tolist()
        if (nearest := found.nearest[row]) is not None
    ]


def _small_pictures(images: pl.DataFrame, max_pixels: int) -> np.ndarray:
    """Pictures as unit vectors (n, dim): their pixels, made small. One that cannot be read any more
    is like no other."""

    def small(path: str) -> np.ndarray:
        try:
            picture = read_rgb(path, max_pixels).resize(_SMALL, Image.Resampling.BOX)
        except SourceError:
            return np.zeros((_SMALL[1], _SMALL[0], 3), np.float32)
        return np.asarray(picture, np.float32)

    with contextlib.closing(
        work_ahead(small, images["path"], workers=cores(), ahead=64, name="look-alikes")
    ) as pictures:
        flat = np.stack(list(pictures)).reshape(len(images), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return flat
