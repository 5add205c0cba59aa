"""Frames of films: which belong together, and which stand too near a border between splits."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import numpy as np
import polars as pl


def with_lengths(images: pl.DataFrame) -> pl.DataFrame:
    """Add to images, with columns video and seconds, the length of each one's video, as far as its
    frames reach; null for stills."""
    films = images.filter(pl.col("video").is_not_null())
    lengths = films.group_by("video").agg(length=pl.col("seconds").max())
    return images.join(lengths, "video", "left", maintain_order="left")


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
        if split is None:
            continue  # it is in no split, so it stands near no border
        near = last and last[0] == video and seconds - last[1] <= _stretch(length) / 2
        if near and last and split != last[2]:
            out.append(row)
        else:
            last = (video, seconds, split)
    return out


def near_frames(images: pl.DataFrame, others: pl.DataFrame) -> list[bool]:
    """Say of each image whether it is a frame that belongs to one of the others: of the same
    stretch of a video, or no further from it than half a stretch.

    Args:
        images: columns video, seconds and length (of the whole video), null for stills.
        others: the same.
    """
    times: dict[str, list[float]] = {}
    for video, seconds, _ in _frames(others):
        if video is not None:
            times.setdefault(video, []).append(seconds)
    for known in times.values():
        known.sort()
    found = []
    for video, seconds, length in _frames(images):
        known = [] if video is None else times.get(video, [])
        if not known:
            found.append(False)
            continue
        at, stretch = bisect.bisect(known, seconds), _stretch(length)
        found.append(
            any(
                abs(time - seconds) <= stretch / 2 or time // stretch == seconds // stretch
                for time in known[max(at - 1, 0) : at + 1]
            )
        )
    return found


def _stretch(length: float) -> float:
    return min(10.0, max(1.0, length / 20))


def _frames(images: pl.DataFrame) -> list[tuple[str | None, float, float]]:
    return images.select("video", "seconds", "length").rows()
