"""What people have said of some images: as evidence about the others, and about the words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.labels.refine.batch import Batch
from pipeline.labels.refine.readings import probabilities_of

# By how many nats images may answer otherwise than the words, and how many times softer than they
# say the words are taken: the first is expected, the others where words are known to mislead.
_PRIORS = ((3.0, 2.0), (8.0, 6.0), (20.0, 6.0))
FREE = _PRIORS[0][0]
_SURELY = 4.0  # nats by which another must tell what people said better
_JUDGED = 500  # answers by which one of these is chosen, at most
_MISTAKEN = 0.1  # share of what people say that is taken to be wrong
_ROUNDS = 50
_STILL = 1e-2  # nats: change of an answer at which the rounds end
_SAME = 1e-6  # length of what is seen that is rounding error
_CHANCE = 0.5  # standard deviation of one of so many coin tosses
_ENOUGH = 10  # answers from which they are asked whether the batch or the words are right


@dataclass(frozen=True)
class Looks:
    """What images that people have named look like, where the words say something else of them."""

    weights: np.ndarray  # (dims, classes): what is seen → nats beside the words

    def shown(self, answers: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return answers (m, classes) in which the looks of known images have a say, each row
        centred.

        Args:
            answers: logits (m, classes) of the words, each row centred.
            seen: the same images (m, dims).
        """
        found: np.ndarray = (answers + unit(seen) @ self.weights).astype(np.float32)
        found -= found.mean(axis=1, keepdims=True)
        return found


def looks_of(answers: np.ndarray, seen: np.ndarray, known: np.ndarray) -> Looks | None:
    """Learn what known images look like; None where none is known.

    A linear classifier of what is seen is added to the words, with a Gaussian prior around nothing:
    logistic regression with an offset, or a Gaussian process whose mean the words give (Rasmussen
    and Williams, 2006, ch. 3). An answer that the words gave, too, moves hardly anything, so that
    odd images of a class do not stand for it; one that contradicts them moves all images alike. It
    does so the less, the surer the words are and the other answers: people err
    (Bootkrajang and Kabán, "Label-noise robust logistic regression", 2012).

    Args:
        answers: logits (n, classes), each row centred.
        seen: the images (n, dims), from `Eye.see`.
        known: (n,) int, index of the class that a person gave; -1: nobody has.
    """
    given = np.flatnonzero(known >= 0)
    if not len(given):
        return None
    points, words, said = unit(seen[given]), answers[given].astype(np.float64), known[given]
    prior = _PRIORS[0] if len(given) < _ENOUGH else _best_prior(points, words, said)
    return Looks(_learned(points, words, said, prior).astype(np.float32))


def _best_prior(points: np.ndarray, words: np.ndarray, said: np.ndarray) -> tuple[float, float]:
    """Return the prior with which one half of what people said is told best by the other half."""
    order = np.random.default_rng(0).permutation(len(said))[:_JUDGED]
    losses = []
    for prior in _PRIORS:
        loss = 0.0
        for hidden, left in ((order[::2], order[1::2]), (order[1::2], order[::2])):
            weights = _learned(points[left], words[left], said[left], prior)
            told = probabilities_of((words[hidden] + points[hidden] @ weights) / prior[1])
            right = told[np.arange(len(hidden)), said[hidden]]
            loss -= float(np.log((1 - _MISTAKEN) * right + _MISTAKEN / words.shape[1]).sum())
        losses.append(loss)
    best = int(np.argmin(losses))
    return _PRIORS[best if losses[best] < losses[0] - _SURELY else 0]


def _learned(
    points: np.ndarray, words: np.ndarray, said: np.ndarray, prior: tuple[float, float]
) -> np.ndarray:
    """Return weights (dims, classes) by which images (m, dims) answer as people said, beside the
    words (m, classes)."""
    free, softer = prior
    # Nothing is learned about directions in which no known image lies.
    few = len(points) < points.shape[1]
    basis, triangle = np.linalg.qr(points.T) if few else (None, None)
    features = points if triangle is None else triangle.T
    found = softer * _fitted(features, words / softer, said, free)
    return found if basis is None else basis @ found


def _fitted(features: np.ndarray, offsets: np.ndarray, said: np.ndarray, free: float) -> np.ndarray:
    """Return the likeliest weights (dims, classes) where some of what people said is wrong.

    Newton's steps with a bound in place of the curvature, which never step too far (Böhning, 1992).

    Args:
        features: (m, dims).
        offsets: logits (m, classes) to which `features @ weights` is added.
        said: class indices (m,).
        free: standard deviation of the prior, in nats.
    """
    count, dims = features.shape
    classes = offsets.shape[1]
    mine = np.arange(count)
    tight = np.eye(dims) / free**2
    step = np.linalg.inv(features.T @ features / 2 + tight)
    weights = np.zeros((dims, classes))
    for _ in range(_ROUNDS):
        shares = probabilities_of(offsets + features @ weights)
        right = (1 - _MISTAKEN) * shares[mine, said]
        wrong = _MISTAKEN / max(classes - 1, 1) * (1 - shares[mine, said])
        shares[mine, said] -= 1
        pull = (right / (right + wrong))[:, None] * shares
        change = step @ (features.T @ pull + weights / free**2)
        weights -= change
        if float(np.abs(features @ change).max()) < _STILL:
            break
    return weights


def unit(seen: np.ndarray) -> np.ndarray:
    """Return what is seen (m, dims) at length 1; what is like nothing keeps length 0."""
    lengths = np.linalg.norm(seen, axis=1, keepdims=True)
    scaled: np.ndarray = seen / np.maximum(lengths, _SAME)
    return scaled


@dataclass(frozen=True)
class Trial:
    """How many of the answers that people gave are found without having been told, each way."""

    answers: int
    found: dict[str, int]  # way → how many

    def best(self, expected: str) -> str:
        """Return the expected way, unless another finds more by more than chance would make it."""
        most = max(self.found, key=lambda way: self.found[way])
        margin = _CHANCE * self.answers**0.5
        return most if self.found[most] > self.found[expected] + margin else expected


def trial(
    batch: Batch, ways: Callable[[np.ndarray], tuple[np.ndarray, Mapping[str, np.ndarray]]]
) -> Trial | None:
    """Hide one half of the known images, then the other, and see who finds them; None where there
    are too few.

    Args:
        batch: the images.
        ways: what learns from the images that are left known, (n,) int, -1 where they are not:
            returns rows of the batch, sorted, and the probabilities for these by each way.
    """
    given = np.flatnonzero(batch.known >= 0)
    if len(given) < _ENOUGH:
        return None
    order = np.random.default_rng(0).permutation(given)
    asked, found = 0, dict[str, int]()
    for hidden in (order[::2], order[1::2]):
        left = batch.known.copy()
        left[hidden] = -1
        rows, by_way = ways(left)
        hidden = np.intersect1d(hidden, rows)
        at = np.searchsorted(rows, hidden)
        asked += len(hidden)
        for way, shares in by_way.items():
            right = int((shares[at].argmax(axis=1) == batch.known[hidden]).sum())
            found[way] = found.get(way, 0) + right
    return Trial(asked, found)
