"""How much each image of a batch counts, so that look-alikes and films do not outvote the rest."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.images.films import frame_blocks, with_lengths
from pipeline.labels.near_duplicates import near_duplicates

_ALIKE = 0.98  # cosine after centring: the same scene, as for the splits unless they are told else
_MISSED = 0.05  # share of the pairs that may be missed: a few votes too many change nothing


def votes(vectors: np.ndarray, images: pl.DataFrame) -> np.ndarray:
    """Return each image's vote, (n,) float32, above 0 and at most 1.

    An image that looks like k others has 1 / (k + 1) of a vote, and a frame of a film that shares a
    stretch with k others as much. Within a film only time ties frames: a fixed camera sees the same
    scene again and again. Look-alikes of look-alikes do not count, or a long chain of images, each
    a little unlike the one before, would have a single vote.

    Args:
        vectors: unit vectors (n, dim) of the images.
        images: columns video and seconds, row by row.
    """
    pairs = near_duplicates(vectors, _ALIKE, _MISSED)
    together = np.ones(len(images))
    if images["video"].null_count() < len(images):
        film = images["video"].to_numpy()
        same = (film[pairs[:, 0]] == film[pairs[:, 1]]) & (film[pairs[:, 0]] != None)  # noqa: E711
        pairs = pairs[~same.astype(bool)]
        together = _sizes(frame_blocks(with_lengths(images)), len(images))
    alike = 1 + np.bincount(pairs.ravel(), minlength=len(images))
    return (1 / np.maximum(alike, together)).astype(np.float32)


def _sizes(pairs: np.ndarray, n: int) -> np.ndarray:
    """How many images are tied together with each, itself among them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(links, directed=False)
    sizes: np.ndarray = np.bincount(component)[component]
    return sizes
