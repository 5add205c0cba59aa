"""What people have said of some images: as evidence about the others, and about the words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline.labels.refine.batch import Batch

_HALF = 2.0  # images of a class after which their looks count as much as its words
_HALVES = (0.1, 0.5, 2.0, 8.0)  # what may be found instead where there are enough of them
_WORST = 5.0  # nats that one image may cost: it may have been named by mistake
_NEAREST = 4  # the share of a class, 1 / (4 classes), whose likeness stands for "one of them"
_FEWEST = 5  # images of that share
_CHANCE = 0.5  # standard deviation of one of so many coin tosses
_ENOUGH = 10  # answers from which they are asked whether the batch or the words are right


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
        return self.from_likeness(answers, seen @ self.prototypes.T)

    def from_likeness(self, answers: np.ndarray, likeness: np.ndarray) -> np.ndarray:
        """Return the same for the images' likeness (m, c) to the prototypes."""
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
    et al., 2017): by n / (n + h) for n images, the words by the rest. Likenesses are brought to the
    scale of the prompts' answers, since two images are more alike than an image and a sentence. How
    soon the looks outweigh the words, h, is what names the known images best when each is left out.

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
    sums = members @ seen[given]
    likeness = seen @ (sums / sizes[:, None]).T
    nearest = min(max(_FEWEST, n // (_NEAREST * count)), n)
    heights = np.partition(answers, -nearest, axis=0)[-nearest:].mean(axis=0)
    grounds = np.median(answers, axis=0)
    found = Looks(
        classes=classes,
        prototypes=sums / sizes[:, None],
        reach=np.partition(likeness, -nearest, axis=0)[-nearest:].mean(axis=0),
        usual=likeness.mean(axis=0),
        trust=(sizes / (sizes + _HALF)).astype(np.float32),
        ground=float(np.median(grounds)),
        gain=float(np.median(heights - grounds)),
    )
    several = sizes[which] > 1
    if several.sum() < _ENOUGH:
        return found
    # The likeness of each known image to its class without it.
    own = np.einsum("ij,ij->i", seen[given], sums[which] - seen[given]) / np.maximum(
        sizes[which] - 1, 1
    )
    alike = likeness[given].copy()
    alike[np.arange(len(given)), which] = own
    words, mine = answers[given][several], known[given][several]
    losses = []
    for half in _HALVES:
        trust = (sizes / (sizes + half)).astype(np.float32)
        told = replace(found, trust=trust).from_likeness(words, alike[several])
        told -= told.max(axis=1, keepdims=True)
        right = told[np.arange(len(mine)), mine] - np.log(np.exp(told).sum(axis=1))
        losses.append(-float(np.maximum(right, -_WORST).mean()))
    best = _HALVES[int(np.argmin(losses))]
    return replace(found, trust=(sizes / (sizes + best)).astype(np.float32))


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
