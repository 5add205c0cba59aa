"""What people have said of some images: as evidence about the others, and about the words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pipeline.labels.refine.batch import Batch

_HALF = 2.0  # images of a class after which their looks count as much as its words
_NEAREST = 4  # the share of a class, 1 / (4 classes), whose likeness stands for "one of them"
_FEWEST = 5  # images of that share
_ENOUGH = 10  # answers from which they are asked whether the batch or the words are right
_SURE = 0.1  # chance of a difference as large, were there none

Fit = TypeVar("Fit")


@dataclass(frozen=True)
class Looks:
    """What the images of classes that people have named look like."""

    classes: np.ndarray  # (c,) int, those of which there are any
    prototypes: np.ndarray  # (c, dims): their mean
    reach: np.ndarray  # (c,): likeness of the images nearest to them
    usual: np.ndarray  # (c,): mean likeness of all images
    trust: np.ndarray  # (c,): 0 to 1, beside the words
    ground: float  # what a prompt answers to images of other classes
    gain: float  # and how much more to its own

    def shown(self, answers: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Return answers (m, classes) in which the looks of known images have a say, each row
        centred.

        Args:
            answers: logits (m, classes) of the words, each row centred.
            seen: the same images (m, dims).
        """
        likeness = seen @ self.prototypes.T
        height = (likeness - self.usual) / np.maximum(self.reach - self.usual, 1e-6)
        pictured = self.ground + self.gain * np.clip(height, -1, 1.5)
        found = answers.astype(np.float32)
        worded = answers[:, self.classes]
        found[:, self.classes] = self.trust * pictured + (1 - self.trust) * worded
        found -= found.mean(axis=1, keepdims=True)
        return found


def looks_of(answers: np.ndarray, seen: np.ndarray, known: np.ndarray) -> Looks | None:
    """Learn what known images look like; None where none is known.

    A class's images answer for it as a prompt made of pictures would (prototypical networks: Snell
    et al., 2017): by n / (n + 2) for n images, the words by the rest. Likenesses are brought to the
    scale of the prompts' answers, since two images are more alike than an image and a sentence.

    Args:
        answers: logits (n, classes), each row centred.
        seen: the images (n, dims), from `Eye.see`.
        known: (n,) int, index of the class that a person gave; -1: nobody has.
    """
    given = np.flatnonzero(known >= 0)
    if not len(given):
        return None
    n, count = answers.shape
    classes, which, sizes = np.unique(known[given], return_inverse=True, return_counts=True)
    members = np.zeros((len(classes), len(given)), np.float32)
    members[which, np.arange(len(given))] = 1
    prototypes = members @ seen[given] / sizes[:, None]
    likeness = seen @ prototypes.T
    nearest = min(max(_FEWEST, n // (_NEAREST * count)), n)
    reach = np.partition(likeness, -nearest, axis=0)[-nearest:].mean(axis=0)
    heights = np.partition(answers, -nearest, axis=0)[-nearest:].mean(axis=0)
    grounds = np.median(answers, axis=0)
    return Looks(
        classes=classes,
        prototypes=prototypes,
        reach=reach,
        usual=likeness.mean(axis=0),
        trust=(sizes / (sizes + _HALF)).astype(np.float32),
        ground=float(np.median(grounds)),
        gain=float(np.median(heights - grounds)),
    )


@dataclass(frozen=True)
class Trial:
    """How many of the answers that people gave are found without having been told."""

    answers: int
    plain: int
    refined: int
    p_value: float  # of a sign test

    @property
    def decides(self) -> bool:
        """Whether one of the two is clearly better."""
        return self.p_value < _SURE

    @property
    def better(self) -> bool:
        """Whether the batch finds more of them than the words alone."""
        return self.refined > self.plain


def trial(
    batch: Batch,
    fit: Callable[[np.ndarray], Fit],
    shares_of: Callable[[Fit], tuple[np.ndarray, np.ndarray]],
) -> Trial | None:
    """Hide one half of the known images, then the other, and see who finds them; None where there
    are too few.

    Args:
        batch: the images.
        fit: what learns from the images that are left known, (n,) int, -1 where they are not.
        shares_of: what was learned → rows of the batch, and their probabilities.
    """
    given = np.flatnonzero(batch.known >= 0)
    if len(given) < _ENOUGH:
        return None
    order = np.random.default_rng(0).permutation(given)
    asked = by_words = by_batch = only_words = only_batch = 0
    for hidden in (order[::2], order[1::2]):
        left = batch.known.copy()
        left[hidden] = -1
        rows, shares = shares_of(fit(left))
        at = np.searchsorted(rows, hidden)
        inside = (at < len(rows)) & (rows[np.minimum(at, len(rows) - 1)] == hidden)
        hidden, at = hidden[inside], at[inside]
        words = batch.plain[hidden].argmax(axis=1) == batch.known[hidden]
        batched = shares[at].argmax(axis=1) == batch.known[hidden]
        asked += len(hidden)
        by_words, by_batch = by_words + int(words.sum()), by_batch + int(batched.sum())
        only_words += int((words & ~batched).sum())
        only_batch += int((batched & ~words).sum())
    from scipy import stats  # slow to import, and most batches have no answers

    differ = only_words + only_batch
    p_value = float(stats.binomtest(only_batch, differ).pvalue) if differ else 1.0
    return Trial(asked, by_words, by_batch, p_value)
