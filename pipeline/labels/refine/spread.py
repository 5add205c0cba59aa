"""How far an answer reaches: what a person said of one image turns the images alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

_A_KIND = 4  # kinds of thing that a class has, on average
_FEWEST = 5  # images of a kind
_MOST = 100
_ACROSS = 0.3  # what a link counts between images that are called differently
_ROUNDS = 100
ON = True
RARE = 0.1


def kind_size(images: int, classes: int) -> int:
    """Return how many images one answer is taken to speak for, of so many in as many classes."""
    return int(np.clip(images // (_A_KIND * classes), _FEWEST, _MOST))


def paths(links: sparse.csr_array, labels: np.ndarray) -> sparse.csr_array:
    """Return the links (n, n), rows summing to 1, in which images that are called alike count
    more."""
    from scipy import sparse  # slow to import

    rows = np.repeat(np.arange(links.shape[0]), np.diff(links.indptr))
    weights = np.where(labels[rows] == labels[links.indices], 1.0, _ACROSS) * links.data
    sums = np.bincount(rows, weights, minlength=links.shape[0])
    weights = (weights / np.maximum(sums[rows], 1e-12)).astype(np.float32)
    return sparse.csr_array((weights, links.indices, links.indptr), shape=links.shape)


def surprise(
    shares: np.ndarray, alone: np.ndarray, links: sparse.csr_array, known: np.ndarray
) -> np.ndarray:
    """Return what the answers add to each image's probabilities, (n, classes) float32.

    Args:
        shares: probabilities (n, classes).
        alone: what they would be for the known images (g, classes) without the answers.
        links: weights (n, n) of each image's neighbours.
        known: (n,) int.
    """
    n, classes = shares.shape
    given = np.flatnonzero(known >= 0)
    missed = -alone
    missed[np.arange(len(given)), known[given]] += 1
    labels = shares.argmax(axis=1)
    labels[given] = alone.argmax(axis=1)
    roads = paths(links, labels)
    size = kind_size(n, classes)
    keep = np.float32(1 - 1 / size)
    # The last column: how likely a walk from there ends at any answer.
    ends = np.concatenate([missed, np.ones((len(given), 1))], axis=1).astype(np.float32)
    found = np.zeros((n, classes + 1), np.float32)
    for _ in range(_ROUNDS):
        found[given] = ends
        found = keep * (roads @ found)
    others = np.delete(found[:, -1], given)
    if not len(others):
        return np.zeros((n, classes), np.float32)
    # As many images as the answers speak for are turned by half or more.
    last = min(size * len(given), len(others)) - 1
    half = max(float(np.sort(others)[::-1][last]), 1e-9)
    wrong = int((alone.argmax(axis=1) != known[given]).sum())
    rate = (wrong + 0.5) / (len(given) + 4)
    trust = rate / (rate + RARE)
    return (trust * found[:, :-1] / (found[:, -1:] + half)).astype(np.float32)
