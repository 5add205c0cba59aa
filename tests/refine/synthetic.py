"""Images and prompts whose truth is known: clouds of vectors, and words that lie where put."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.labels.refine.batch import Batch, Space
from tests.fakes import unit

DIM = 32
_SCALE = 25.0  # logit scale
_CONE = 0.6  # what all images share, and all texts: the cone of contrastive embeddings


@dataclass(frozen=True)
class World:
    """A batch, and what only the tests know of it."""

    batch: Batch
    truth: np.ndarray  # (n,) int: the class of each image

    def right(self, probabilities: np.ndarray) -> float:
        """The share of the images whose most probable class is their own."""
        return float((probabilities.argmax(axis=1) == self.truth).mean())

    @property
    def plain(self) -> float:
        """How often the words alone are right."""
        return self.right(self.batch.plain)

    def only(self, rows: np.ndarray) -> World:
        """Return a world of some of the images, in this order."""
        batch = self.batch
        spaces = tuple(Space(space.name, space.vectors[rows]) for space in batch.spaces)
        batch = replace(
            batch, plain=batch.plain[rows], spaces=spaces, known=batch.known[rows],
            votes=batch.votes[rows],
        )  # fmt: skip
        return World(batch, self.truth[rows])

    def told(self, rows: np.ndarray, classes: np.ndarray | None = None) -> World:
        """Return the world after a person named some of the images: rightly, or as told."""
        known = self.batch.known.copy()
        known[rows] = self.truth[rows] if classes is None else classes
        return replace(self, batch=replace(self.batch, known=known))

    def beside(self, name: str, vectors: np.ndarray) -> World:
        """Return the world seen by one more space."""
        spaces = (*self.batch.spaces, Space(name, vectors))
        return replace(self, batch=replace(self.batch, spaces=spaces))


def world(
    sizes: Sequence[int],
    *,
    spread: float = 0.9,
    fit: float = 0.8,
    loud: dict[int, float] | None = None,
    misplaced: dict[int, int] | None = None,
    unknown: Sequence[int] = (),
    seed: int = 0,
) -> World:
    """Return images of some classes and what their words say.

    Args:
        sizes: how many images each class has; 0 for a class that has a prompt and no images.
        spread: length of an image's own deviation from its class.
        fit: cosine of a prompt and its class's direction.
        loud: class → how much nearer its prompt lies to all images: it attracts everything.
        misplaced: class → another one whose direction its prompt has in equal parts.
        unknown: classes whose prompts mean nothing.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    count = len(sizes)
    cone = unit(rng.normal(size=DIM))
    things = unit(rng.normal(size=(count, DIM)))
    truth = np.repeat(np.arange(count), sizes)
    truth = truth[rng.permutation(len(truth))]
    vectors = cloud(truth, things, cone, spread, rng)
    meant = things.copy()
    for one, other in (misplaced or {}).items():
        meant[one] = unit(things[one] + 1.2 * things[other])
    off = unit(rng.normal(size=(count, DIM)))
    texts = fit * meant + np.sqrt(1 - fit**2) * off
    texts[list(unknown)] = off[list(unknown)]
    gap = unit(rng.normal(size=DIM))
    texts = unit(texts + _CONE * gap)
    for one, more in (loud or {}).items():
        texts[one] = unit(texts[one] + more * cone)
    plain = softmax(_SCALE * vectors @ texts.T)
    batch = Batch(
        classes=tuple(f"thing {number}" for number in range(count)),
        plain=plain,
        spaces=(Space("own", vectors),),
        known=np.full(len(truth), -1),
        votes=np.ones(len(truth), np.float32),
    )
    return World(batch, truth)


def sight(truth: np.ndarray, *, spread: float = 0.9, dim: int = DIM, seed: int = 1) -> np.ndarray:
    """Return the same images (n, dim) as a purely visual space sees them; with a large spread it
    sees noise."""
    rng = np.random.default_rng(seed)
    things = unit(rng.normal(size=(truth.max() + 1, dim)))
    return cloud(truth, things, unit(rng.normal(size=dim)), spread, rng)


def cloud(
    truth: np.ndarray, things: np.ndarray, cone: np.ndarray, spread: float,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Return images (n, dim) around the directions of their classes."""
    noise = rng.normal(size=(len(truth), things.shape[1])) / np.sqrt(things.shape[1])
    return unit(_CONE * cone + things[truth] + spread * noise)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, classes) float32, rows summing to 1."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
