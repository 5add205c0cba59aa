"""Batches made of one data set: the ways in which a person's images and words can be unlucky.

Pure functions of classes and vectors. The same seed makes the same batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

_RAREST = 0.03  # share of its images that the rarest class of an imbalanced batch keeps
_FEW = 20  # images
_COPIES = 200  # of one scene
_LARGE = 15  # images of a class that may stand alone


@dataclass(frozen=True)
class Variation:
    """A batch: which images, and where the prompts lie."""

    name: str
    rows: np.ndarray  # (m,) int, of the data set; a row may come often
    prompts: np.ndarray  # (prompts, dim) unit vectors


def variations(
    truth: np.ndarray, prompts: np.ndarray, seeds: Sequence[int] = (0, 1, 2)
) -> Iterator[Variation]:
    """Make batches of a data set, of which the first is all of it.

    Args:
        truth: (n,) class indices, of at least two classes.
        prompts: unit vectors (prompts, dim), at least two, one for each class or more.
        seeds: of what is drawn; each unlucky batch is made once with each, which
            stands behind its name.
    """
    yield Variation("all", np.arange(len(truth)), prompts)
    for seed in seeds:
        for one in _unlucky(truth, prompts, np.random.default_rng(seed)):
            yield replace(one, name=f"{one.name} ({seed})")


def _unlucky(
    truth: np.ndarray, prompts: np.ndarray, rng: np.random.Generator
) -> Iterator[Variation]:
    everything = np.arange(len(truth))
    present = np.unique(truth)
    yield Variation("imbalanced", _imbalanced(truth, present, rng), prompts)
    absent = rng.choice(present)
    yield Variation("one class missing", np.flatnonzero(truth != absent), prompts)
    counts = np.bincount(truth)[present]
    large = present[counts >= min(_LARGE, counts.max())]
    yield Variation("one class alone", np.flatnonzero(truth == rng.choice(large)), prompts)
    half = rng.choice(present, max(1, len(present) // 2), replace=False)
    yield Variation("half of the classes", np.flatnonzero(np.isin(truth, half)), prompts)
    yield Variation("a misplaced prompt", everything, misplaced(prompts, rng))
    yield Variation("an unknown word", everything, unknown(prompts, rng))
    few = rng.choice(len(truth), min(_FEW, len(truth)), replace=False)
    yield Variation("20 images", np.sort(few), prompts)
    scene = np.full(_COPIES - 1, rng.integers(len(truth)))
    yield Variation("one scene 200 times", np.concatenate([everything, scene]), prompts)


def _imbalanced(truth: np.ndarray, present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rows of classes whose sizes fall geometrically, in random order of the classes."""
    kept = []
    for number, share in zip(
        rng.permutation(present), np.geomspace(1, _RAREST, len(present)), strict=True
    ):
        rows = rng.permutation(np.flatnonzero(truth == number))
        kept.append(rows[: max(2, round(share * len(rows)))])
    return np.sort(np.concatenate(kept))


def misplaced(prompts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move one prompt towards another one's place, with noise; more of it is the other's than its
    own. All others stay."""
    middle = prompts.mean(axis=0)
    which, other = rng.choice(len(prompts), 2, replace=False)
    own, theirs = prompts[which] - middle, prompts[other] - middle
    noise = _direction(prompts, rng)
    return _with(prompts, which, middle + 0.2 * own + 0.4 * theirs + 0.5 * noise)


def unknown(prompts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put one prompt into a random direction, as far from the prompts' centre as the others."""
    which = rng.integers(len(prompts))
    return _with(prompts, int(which), prompts.mean(axis=0) + _direction(prompts, rng))


def _direction(prompts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random vector (dim,) as long as prompts lie from their centre, on average."""
    spread = np.linalg.norm(prompts - prompts.mean(axis=0), axis=1).mean()
    drawn = rng.standard_normal(prompts.shape[1])
    scaled: np.ndarray = drawn / np.linalg.norm(drawn) * spread
    return scaled


def _with(prompts: np.ndarray, which: int, vector: np.ndarray) -> np.ndarray:
    moved = prompts.copy()
    moved[which] = vector / np.linalg.norm(vector)
    return moved
