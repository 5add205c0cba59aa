"""How little an image fits any class of the ontology.

Three things are asked of each image. What do the words say? The directions in which the plain
probabilities change are found in the vectors themselves, so this needs no prompt at hand. Where do
the images lie that the words fit best? Their means stand for the classes: a plain mean over
everything that is called "dog" would take the pianos in with the dogs. And do its neighbours lie
as far off? An odd picture of a dog lies among dogs, a piano among pianos.

The distance to the nearest class mean is that of Lee et al. (2018), "A simple unified framework
for detecting out-of-distribution samples", with the covariance of a unit matrix.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.labels.neighbours import blocks, centre_of, centred, neighbours, some_rows
from pipeline.labels.refine.batch import Batch

_FITTED = 20_000  # rows that directions are fitted to
_SURE = 4  # power of the cosine with a class's direction: how much the clearest images lead
_AROUND = 0.8  # share of the neighbours in an image's distance
_WORDS = 0.5  # what the words say, beside the distance
_HALF = 3.0  # spreads above the median where a score is 0.5
_RIDGE = 1e-6
_LEAST = 1e-30


def unlike(batch: Batch, probabilities: np.ndarray) -> np.ndarray:
    """Return how little each image fits any class, (n,) float32 from 0 to 1.

    0.5 is three spreads of the batch above its median. Images whose class a person gave fit: 0.

    Args:
        batch: all images of a run; vectors are read in blocks.
        probabilities: what refinement gave, (n, classes); they say which space to trust, and which
            classes are there at all.
    """
    n = len(batch.plain)
    if n == 0:
        return np.empty(0, np.float32)
    labels = probabilities.argmax(axis=1)
    present = np.bincount(labels, minlength=probabilities.shape[1]) > 0
    core = _Core(batch)
    silent = core.silence()
    far, total = np.zeros(n), 0.0
    for space in batch.spaces:
        near = neighbours(space.vectors).rows
        distance = _distances(space.vectors, core, present)
        trust = _trust(labels, near)
        far += trust * _above(_smooth(distance, near))
        far += trust * _WORDS * _above(_smooth(silent, near))
        total += trust * (1 + _WORDS)
    scores = 1 / (1 + np.exp(-(far / total - _HALF)))
    scores[batch.known >= 0] = 0
    return scores.astype(np.float32)


class _Core:
    """How much each image speaks for what a class looks like: the words must fit it clearly."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.n = len(batch.plain)
        self._mean = centre_of(batch.spaces[0].vectors)
        self._directions = _directions(batch, self._mean)

    def _fit(self, rows: slice) -> np.ndarray:
        """Cosines (rows, classes) of images with the directions of the classes."""
        vectors = centred(self._batch.spaces[0].vectors[rows], self._mean)
        fit: np.ndarray = vectors @ self._directions.T
        return fit

    def silence(self) -> np.ndarray:
        """Return how little the words say, (n,): minus the best cosine with any class."""
        return np.concatenate([-self._fit(rows).max(axis=1) for rows in blocks(self.n)])

    def weights(self, rows: slice) -> np.ndarray:
        """Return weights (rows, classes) float32; a person's decision counts in full."""
        batch = self._batch
        weights: np.ndarray = np.maximum(self._fit(rows), 0) ** _SURE * batch.plain[rows]
        known = batch.known[rows]
        given = known >= 0
        weights[given] = np.eye(batch.plain.shape[1], dtype=np.float32)[known[given]]
        return weights * batch.votes[rows, None]


def _directions(batch: Batch, mean: np.ndarray) -> np.ndarray:
    """Return the unit vectors (classes, dim) along which each class's plain logit grows.

    A softmax over cosines is linear in the vector but for a constant of the row, so least squares
    give back what the prompts differ in, and the best that can be said where several teachers
    speak as one.
    """
    rows = some_rows(len(batch.plain), _FITTED)
    vectors = batch.spaces[0].vectors[rows].astype(np.float64) - mean
    logits = np.log(np.maximum(batch.plain[rows].astype(np.float64), _LEAST))
    logits -= logits.mean(axis=1, keepdims=True)
    logits -= logits.mean(axis=0)
    gram = vectors.T @ vectors
    gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / len(gram) + _LEAST
    found = np.linalg.solve(gram, vectors.T @ logits).T
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), _LEAST)
    return found.astype(np.float32)


def _distances(vectors: np.ndarray, core: _Core, present: np.ndarray) -> np.ndarray:
    """Return the distance (n,) of each row to the nearest mean of a class that is present."""
    n, classes = len(vectors), len(present)
    centre = centre_of(vectors)
    sums, weight = np.zeros((classes, vectors.shape[1])), np.zeros(classes)
    for rows in blocks(n):
        weights = core.weights(rows)
        sums += weights.T @ (vectors[rows].astype(np.float32) - centre)
        weight += weights.sum(axis=0)
    there = present & (weight > 0)
    if not there.any():
        return np.zeros(n)
    means = (sums[there] / weight[there, None]).astype(np.float32)
    lengths = (means**2).sum(axis=1)
    nearest = np.empty(n)
    for rows in blocks(n):
        moved = vectors[rows].astype(np.float32) - centre
        squares = (moved**2).sum(axis=1)[:, None] - 2 * moved @ means.T + lengths
        nearest[rows] = squares.min(axis=1)
    return np.sqrt(np.maximum(nearest, 0))


def _smooth(values: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return values (n,) with those of the neighbours mixed in."""
    if not near.shape[1]:
        return values
    mixed: np.ndarray = (1 - _AROUND) * values + _AROUND * values[near].mean(axis=1)
    return mixed


def _trust(labels: np.ndarray, near: np.ndarray) -> float:
    """How far a space is to be believed: how well its neighbourhoods know the labels."""
    if not near.shape[1]:
        return 1.0
    shares = np.bincount(labels) / len(labels)
    chance = float((shares**2).sum())
    agree = float((labels[near] == labels[:, None]).mean())
    known = max(0.0, (agree - chance) / max(1 - chance, 1e-6))
    return 1 / (1 - known + 0.02) ** 2


def _above(distance: np.ndarray) -> np.ndarray:
    """Return distances as spreads above the median. The spread is that of the nearer half, which
    strangers do not reach."""
    low, middle = np.quantile(distance, [0.16, 0.5])
    return (distance - middle) / max(float(middle - low), 1e-6)
