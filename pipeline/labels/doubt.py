"""How likely a label is wrong, as a ranking."""

from __future__ import annotations

import numpy as np

from pipeline.labels.around import Around, around
from pipeline.labels.probe import probe
from pipeline.labels.refine.batch import Batch


def doubt(batch: Batch, probabilities: np.ndarray) -> np.ndarray:
    """Return how likely each image's label is wrong, (n,) float32 from 0 to 1; the order matters.

    Half of it is how little the neighbours' probabilities speak for the label, a quarter how little
    the words say for it around the image, and a quarter a linear classifier that has not seen the
    image (after confident learning: Northcutt et al., 2021). The image's own probability and margin
    are left out: measured over many batches they made the order worse, for where a label is wrong
    with confidence its neighbourhood shows it. All spaces count alike; labels that a person gave
    are not doubted.

    Args:
        batch: all images of a run; vectors are read in blocks.
        probabilities: what refinement gave, (n, classes).
    """
    n, classes = probabilities.shape
    given = batch.known >= 0
    labels = np.where(given, batch.known, probabilities.argmax(axis=1))
    if n < 3 or classes < 2:
        return np.zeros(n, np.float32)
    total = np.zeros(n)
    for space in batch.spaces:
        near = around(space.vectors, batch.votes)
        total += doubt_in(near, space.vectors, probabilities, batch.plain, labels, batch.votes)
    doubts = (total / len(batch.spaces)).clip(0, 1)
    doubts[given] = 0
    return doubts.astype(np.float32)


def doubt_in(
    near: Around,
    vectors: np.ndarray,
    probabilities: np.ndarray,
    plain: np.ndarray,
    labels: np.ndarray,
    votes: np.ndarray,
) -> np.ndarray:
    """Return how likely each label is wrong by one space, (n,) from 0 to 1: see `doubt`.

    Args:
        near: the neighbours in that space.
        vectors: of the space, (n, dim).
        probabilities: what is believed, (n, classes).
        plain: what the words say, (n, classes).
        labels: (n,) int.
        votes: (n,) weight of each image.
    """
    total = 0.5 * (1 - near.support(probabilities, labels))
    total += 0.25 * (1 - near.support(plain, labels))
    total += 0.25 * (1 - probe(vectors, labels, probabilities.shape[1], votes)) / 2
    return total
