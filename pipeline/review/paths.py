"""The walk from image to image alike by which an answer reaches others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

_A_KIND = 4  # kinds of thing that a class has, on average
_FEWEST, _MOST = 5, 100  # images of a kind
_ACROSS = 0.3  # what a link counts between images that are called differently
_LEAST = 1e-9


def kind_size(images: int, classes: int) -> int:
    """Return for how many images one answer is taken to speak, of so many in so many classes."""
    return int(np.clip(images // (_A_KIND * classes), _FEWEST, _MOST))


def paths(links: sparse.csr_array, labels: np.ndarray) -> sparse.csr_array:
    """Return the steps of a walk (n, n), rows summing to 1: along the links of neighbours, and more
    likely to an image that is called alike.

    Args:
        links: weights (n, n) of each image's neighbours.
        labels: class indices (n,).
    """
    from scipy import sparse  # slow to import

    rows = np.repeat(np.arange(links.shape[0]), np.diff(links.indptr))
    weights = np.where(labels[rows] == labels[links.indices], 1.0, _ACROSS) * links.data
    sums = np.bincount(rows, weights, minlength=links.shape[0])
    weights = (weights / np.maximum(sums[rows], _LEAST)).astype(np.float32)
    return sparse.csr_array((weights, links.indices, links.indptr), shape=links.shape)
