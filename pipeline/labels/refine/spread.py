"""How far an answer reaches: what a person said of one image turns the images alike.

Where an answer contradicts what the batch would have said of its image, the same mistake was made
of the images alike, too: the error is carried from the answered images to the others, as in
"Correct and Smooth" (Huang et al., 2021). It is carried by random walks from image to image alike
that end at the first answer they meet, or by chance after as many steps as a kind of thing has
images (partially absorbing random walks: Wu et al., 2012). An answer that agrees carries no error,
and so holds what lies around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

_A_KIND = 4  # kinds of thing that a class has, on average
_FEWEST, _MOST = 5, 100  # images of a kind
_ACROSS = 0.3  # what a link counts between images that are called differently
_ROUNDS = 4  # steps after which hardly a walk goes on, in images of a kind
_LONGEST = 100
_ERROR = 0.01  # of a probability, below which it is none
_LEAST = 1e-9  # probability


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


def carried(
    shares: np.ndarray, alone: np.ndarray, links: sparse.csr_array, known: np.ndarray
) -> np.ndarray:
    """Return what the answers change in each image's probabilities, (n, classes) float32.

    The answers turn as many images by half or more as they are taken to speak for.

    Args:
        shares: probabilities (n, classes).
        alone: what they would be for the g known images, had nobody answered, (g, classes).
        links: weights (n, n) of each image's neighbours.
        known: (n,) int, index of the class that a person gave; -1: nobody has.
    """
    n, classes = shares.shape
    given = np.flatnonzero(known >= 0)
    change = np.zeros((n, classes), np.float32)
    errors = -alone
    errors[np.arange(len(given)), known[given]] += 1
    wrong = np.flatnonzero((np.abs(errors) > _ERROR).any(axis=0))
    if not len(wrong) or len(given) == n:
        return change
    labels = shares.argmax(axis=1)
    labels[given] = alone.argmax(axis=1)
    steps = paths(links, labels)
    size = kind_size(n, classes)
    on = np.float32(1 - 1 / size)
    # The last column says how likely a walk from there ends at any answer.
    ends = np.column_stack([errors[:, wrong], np.ones(len(given))]).astype(np.float32)
    walks = np.zeros((n, ends.shape[1]), np.float32)
    for _ in range(min(_ROUNDS * size, _LONGEST)):
        walks[given] = ends
        walks = on * (steps @ walks)
    reached = np.sort(np.delete(walks[:, -1], given))[::-1]
    half = max(float(reached[min(size * len(given), len(reached)) - 1]), _LEAST)
    change[:, wrong] = walks[:, :-1] / (walks[:, -1:] + half)
    return change


def turned(shares: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return probabilities (m, classes) float32 with a change, rows summing to 1."""
    found: np.ndarray = np.maximum(shares + change, np.float32(_LEAST))
    found /= found.sum(axis=1, keepdims=True)
    return found
