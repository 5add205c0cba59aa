"""The readings of the words that the batch allows: by an image's neighbours, and by the mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.labels.refine.mixture import HYPOTHESES, Mixture, fit

if TYPE_CHECKING:
    from scipy import sparse

_OWN = 0.3  # what an image's own answer weighs beside its neighbours'
_VOTES = 5  # rounds in which neighbours hear of neighbours
_ROUNDS = 2  # the same for the answers that the mixture is fitted to
_LEAST = 1e-30  # probability
_WIDE = 4.0  # times the variance of another hypothesis' clouds: such clouds tell nothing apart
_SURE = 0.005  # difference of two hypotheses' fits at which the better one counts e times as much
_NEAR = 7  # neighbours that are asked whether a reading holds together


@dataclass(frozen=True)
class Readings:
    """What the words say of the images of a sample, read together."""

    answers: np.ndarray  # (n, classes) float32, logits, each row centred
    smoothed: np.ndarray  # the same, by the neighbours
    local: np.ndarray  # probabilities (n, classes) float32, by the neighbours' vote
    mixtures: tuple[Mixture, ...]
    weights: tuple[float, ...]  # of the mixtures, summing to 1
    batch: np.ndarray  # probabilities (n, classes) float32, by the mixtures

    def joint(self, smoothed: np.ndarray) -> np.ndarray:
        """Return probabilities (m, classes) float32 by the mixtures, for answers that were smoothed
        by the neighbours in the sample."""
        found = [mixture.probabilities(smoothed) for mixture in self.mixtures]
        return _together(found, self.weights)


def centred_logits(probabilities: np.ndarray) -> np.ndarray:
    """Return logits (n, classes) float32 of probabilities, each row with the mean 0."""
    logits = np.log(np.maximum(probabilities, _LEAST, dtype=np.float32))
    logits -= logits.mean(axis=1, keepdims=True)
    return logits  # type: ignore[no-any-return]


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (n, classes) float32 of logits."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights  # type: ignore[no-any-return]


def read(
    answers: np.ndarray,
    links: sparse.csr_array,
    votes: np.ndarray,
    known: np.ndarray,
    prior: np.ndarray | None,
    eyewitness: np.ndarray | None = None,
) -> Readings:
    """Read the words of all images of a sample together.

    Args:
        answers: (n, classes) float32, logits, each row centred.
        links: weights (n, n) of each image's neighbours.
        votes: (n,).
        known: (n,) int, index of the class that a person gave; -1: nobody has.
        prior: declared shares (classes,), or None.
        eyewitness: images (n, dims) as a purely visual space sees them, where one is trusted more
            than the teacher's own: it may judge between the hypotheses. The teacher's own space may
            not, since the words live in it.
    """
    given = np.flatnonzero(known >= 0)
    plain = probabilities_of(answers)
    local = voted(plain, links, known)
    smoothed = answers
    for _ in range(_ROUNDS):
        smoothed = mixed(answers, links @ smoothed)
    mixtures = tuple(
        fit(smoothed, plain, votes, known, hypothesis, prior) for hypothesis in HYPOTHESES
    )
    found = [mixture.probabilities(smoothed) for mixture in mixtures]
    # Of two classes a loud prompt may leave one cloud that swallows the other, where another
    # hypothesis finds both.
    variances = np.array([mixture.variance for mixture in mixtures])
    weights = (variances <= _WIDE * variances.min()).astype(np.float64)
    weights /= weights.sum()
    if eyewitness is not None:
        fits = np.array(
            [_explained(eyewitness, one, votes) - 1 + agreement(one, links) for one in found]
        )
        weights *= np.exp((fits - fits[weights > 0].max()).clip(max=0) / _SURE)
        weights /= weights.sum()
    batch = _together(found, weights)
    batch[given] = 0
    batch[given, known[given]] = 1
    return Readings(answers, smoothed, local, mixtures, tuple(weights.tolist()), batch)


def voted(plain: np.ndarray, links: sparse.csr_array, known: np.ndarray) -> np.ndarray:
    """Return probabilities (n, classes) float32 by the vote of the neighbours.

    Args:
        plain: probabilities (n, classes), each image's own.
        links: weights (n, n) of each image's neighbours.
        known: (n,) int, index of the class that a person gave; -1: nobody has.
    """
    given = np.flatnonzero(known >= 0)
    local: np.ndarray = plain.copy()
    for turn in range(_VOTES + 1):
        if turn:
            local = mixed(plain, links @ local)
        local[given] = 0
        local[given, known[given]] = 1
    return local


def mixed(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return an image's own answers (n, classes) and its neighbours' as one, float32."""
    blend: np.ndarray = _OWN * own + (1 - _OWN) * others
    return blend.astype(np.float32)


def _together(found: Sequence[np.ndarray], weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the weighted mean of probabilities (n, classes)."""
    total = np.zeros_like(found[0])
    for weight, shares in zip(weights, found, strict=True):
        total += np.float32(weight) * shares
    return total


def agreement(shares: np.ndarray, links: sparse.csr_array) -> float:
    """Return how often an image's neighbours would give it its own class, beyond chance: 0 to 1
    (Cohen's kappa of a nearest-neighbour classifier with the labels that it is to predict)."""
    labels = shares.argmax(axis=1)
    n, classes = shares.shape
    most = np.diff(links.indptr)[0] if n else 0
    order = np.argsort(-links.data.reshape(n, most), axis=1)[:, :_NEAR]
    near = np.take_along_axis(links.indices.reshape(n, most), order, axis=1)
    told = np.zeros((n, classes), np.int16)
    np.add.at(told, (np.arange(n)[:, None], labels[near]), 1)
    same = float((told.argmax(axis=1) == labels).mean())
    frequencies = np.bincount(labels, minlength=classes) / n
    chance = float((frequencies**2).sum())
    return 1.0 if chance >= 1 else max((same - chance) / (1 - chance), 0.0)


def _explained(seen: np.ndarray, shares: np.ndarray, votes: np.ndarray) -> float:
    """The share of the images' visual variance between the classes, adjusted for their number."""
    labels = shares.argmax(axis=1)
    classes = shares.shape[1]
    members = np.zeros((len(labels), classes), np.float32)
    members[np.arange(len(labels)), labels] = votes
    counts = members.sum(axis=0)
    there = counts > 0
    means = (members.T @ seen)[there] / counts[there, None]
    overall = np.average(seen, axis=0, weights=votes)
    total = float((votes * ((seen - overall) ** 2).sum(axis=1)).sum())
    between = float((counts[there] * ((means - overall) ** 2).sum(axis=1)).sum())
    n, used = len(labels), int(there.sum())
    return 1 - ((total - between) / max(n - used, 1)) / max(total / max(n - 1, 1), 1e-12)
