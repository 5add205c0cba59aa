"""How likely a label is wrong, as a ranking."""

from __future__ import annotations

import numpy as np

from pipeline.labels.around import Around, Surroundings, blocks
from pipeline.labels.probe import Probe, probe
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
    return Doubter(batch, probabilities, Surroundings(batch)).scores


class Doubter:
    """How likely labels are wrong, of a batch and of further images by what it has shown: see
    `doubt`.

    Args:
        batch: the images that are learned from.
        probabilities: what refinement gave, (n, classes).
        near: who surrounds them.
    """

    def __init__(self, batch: Batch, probabilities: np.ndarray, near: Surroundings) -> None:
        n, classes = probabilities.shape
        self._batch, self._shares, self._near = batch, probabilities, near
        self._probes: list[Probe] = []  # one for each space
        self.scores = np.zeros(n, np.float32)  # of the batch
        if n < 3 or classes < 2:
            return
        labels, total = _labels(batch, probabilities), np.zeros(n)
        for space, beside in zip(batch.spaces, near.own, strict=True):
            linear = Probe(space.vectors, labels, classes, batch.votes)
            total += _added(beside, probabilities, batch.plain, labels, linear.leads)
            self._probes.append(linear)
        self.scores = _mean(total, len(batch.spaces), batch.known)

    def further(self, batch: Batch, probabilities: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return how likely each label is wrong, (m,) float32 from 0 to 1.

        Args:
            batch: images that are none of those learned from, in the same spaces.
            probabilities: what refinement gave, (m, classes).
            rows: (m,) int, which images they are, see `Surroundings.further`.
        """
        found = np.zeros(len(probabilities), np.float32)
        if not self._probes:
            return found
        labels, near = _labels(batch, probabilities), self._near.further(batch, rows)
        for part in blocks(len(found)):
            total = np.zeros(len(labels[part]))
            for linear, space, beside in zip(self._probes, batch.spaces, near, strict=True):
                leads = linear.further(space.vectors[part], labels[part])
                total += _added(
                    beside.part(part), self._shares, self._batch.plain, labels[part], leads
                )
            found[part] = _mean(total, len(self._probes), batch.known[part])
        return found


def _labels(batch: Batch, probabilities: np.ndarray) -> np.ndarray:
    return np.where(batch.known >= 0, batch.known, probabilities.argmax(axis=1))


def _mean(total: np.ndarray, spaces: int, known: np.ndarray) -> np.ndarray:
    doubts = (total / spaces).clip(0, 1)
    doubts[known >= 0] = 0
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
    leads = probe(vectors, labels, probabilities.shape[1], votes)
    return _added(near, probabilities, plain, labels, leads)


def _added(
    near: Around,
    probabilities: np.ndarray,
    plain: np.ndarray,
    labels: np.ndarray,
    leads: np.ndarray,
) -> np.ndarray:
    total = 0.5 * (1 - near.support(probabilities, labels))
    total += 0.25 * (1 - near.support(plain, labels))
    total += 0.25 * (1 - leads) / 2
    return total
