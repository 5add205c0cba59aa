"""A mixture of classes in the space of the words' answers, tied to the prompts.

Each image is a point whose coordinates say how strongly each prompt speaks for it, and each class a
cloud of such points. Where the prompts were right and well tempered, the clouds would lie on the
axes; where a prompt attracts everything, or speaks softly, or belongs to another thing half of the
time, they lie elsewhere, and the batch shows where. A class's mean is shrunk to what its prompt
promises, by n / (n + a): the anchoring of StatA (Zanella et al., CVPR 2025), carried from the
embedding space, where a class can drift to another's images, to the space of the answers, where it
cannot: it stays where its own prompt answers most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROUNDS = 30
_STILL = 1e-3  # mean change of the probabilities at which the rounds end
_PRESENT = 0.02  # share of the images from which a class counts as there, or
_PART = 0.25  # as much of what each of many classes would have
_DOUBT = 0.5  # spread of a prompt's promise, in gains
_LEAST = 0.1  # spread of a cloud, in gains: no image is certain
_ONE = 1.0  # image that each class is taken to have from the start


@dataclass(frozen=True)
class Hypothesis:
    """How far the prompts are trusted.

    `bias`: how much a prompt may answer to everything, in gains. `gain_images` and `mean_images`:
    how many images it takes to move a prompt's gain, and a class's whole mean, half of the way.
    """

    bias: float
    gain_images: float
    mean_images: float


# None of them is right everywhere: their mean loses less where one is wrong than any gains.
HYPOTHESES = (
    Hypothesis(0.25, 30, 30),
    Hypothesis(0.1, 5, 10),
    Hypothesis(0.25, 5, 100),
    Hypothesis(0.1, 5, 30),
    Hypothesis(0.5, 30, 30),
)


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture."""

    means: np.ndarray  # (classes, classes) float32: of each class, the answers of all prompts
    variance: float
    shares: np.ndarray  # (classes,) of the images, summing to 1

    def probabilities(self, answers: np.ndarray) -> np.ndarray:
        """Return (m, classes) float32 for answers (m, classes)."""
        distances = -2 * answers @ self.means.T + (self.means**2).sum(axis=1)
        logits = np.log(self.shares) - distances / (2 * self.variance)
        logits -= logits.max(axis=1, keepdims=True)
        weights = np.exp(logits, dtype=np.float32)
        weights /= weights.sum(axis=1, keepdims=True)
        return weights  # type: ignore[no-any-return]


def fit(
    answers: np.ndarray,
    start: np.ndarray,
    votes: np.ndarray,
    known: np.ndarray,
    hypothesis: Hypothesis,
    prior: np.ndarray | None = None,
) -> Mixture:
    """Fit the mixture by expectation and maximization.

    Args:
        answers: (n, classes) float32, each row centred: logits of the classes.
        start: probabilities (n, classes) to begin with.
        votes: (n,) float32, what each image counts, 1 on average.
        known: (n,) int, index of the class that a person gave; -1: nobody has.
        hypothesis: how far the prompts are trusted.
        prior: shares (classes,), where they are declared; they are estimated otherwise.
    """
    n, classes = answers.shape
    given = np.flatnonzero(known >= 0)
    weights = votes[:, None]
    total = (weights * answers).sum(axis=0)
    squares = float(np.vdot(weights * answers, answers))
    shares = start.astype(np.float32)
    axes = np.arange(classes)
    for _ in range(_ROUNDS):
        shares[given] = 0
        shares[given, known[given]] = 1
        weighed = shares * weights
        counts = weighed.sum(axis=0)
        sums = weighed.T @ answers
        held = sums / np.maximum(counts, 1e-9)[:, None]
        # What each prompt says of the images of other classes, and of its own.
        others = (total - sums[axes, axes]) / np.maximum(n - counts, 1e-9)
        own = held[axes, axes]
        ground = float((total.sum() - sums[axes, axes].sum()) / max(n * (classes - 1), 1e-9))
        capped = np.minimum(counts, hypothesis.gain_images)
        gain = float((capped * (own - others)).sum() / max(capped.sum(), 1e-9))
        gain = max(gain, 1e-3)
        # Only where several classes are there does a prompt that is loud everywhere show: in a
        # batch of one class the loud prompt may just be right.
        there = max(int((counts > present_share(classes) * n).sum()) - 1, 0)
        freed = there * hypothesis.bias**2 / (there * hypothesis.bias**2 + _DOUBT**2)
        grounds = ground + (others - ground) * freed
        gains = (counts * (own - grounds) + hypothesis.gain_images * gain) / (
            counts + hypothesis.gain_images
        )
        promised = np.tile(grounds, (classes, 1))
        promised[axes, axes] += gains
        learned = (counts / (counts + hypothesis.mean_images))[:, None]
        means = (learned * held + (1 - learned) * promised).astype(np.float32)
        # The mean squared distance to the own class's mean, from the sums alone.
        away = squares - 2 * np.vdot(sums, means) + np.vdot(counts, (means**2).sum(axis=1))
        variance = float(away) / (n * max(classes - 1, 1))
        variance = max(variance, (_LEAST * gain) ** 2)
        present = prior if prior is not None else (counts + _ONE) / (n + classes * _ONE)
        mixture = Mixture(means, variance, np.maximum(present, 1e-9).astype(np.float32))
        before, shares = shares, mixture.probabilities(answers)
        if float(np.abs(shares - before).mean()) * classes < _STILL:
            break
    return mixture


def present_share(classes: int) -> float:
    """Return the share of the images from which one of so many classes counts as there."""
    return min(_PRESENT, _PART / classes)
