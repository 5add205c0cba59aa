"""How little an image fits any class of the ontology.

Four things are asked of each image. What do the words say? The directions in which the plain
probabilities change are found in the vectors themselves, so this needs no prompt at hand. Where do
the images lie that the words fit best? Their means stand for the classes: a plain mean over
everything that is called "dog" would take the pianos in with the dogs. Do its neighbours lie as far
off? An odd picture of a dog lies among dogs, a piano among pianos. And do the words alone call
those neighbours what the image is called? Then a prompt that lies far from all of its images is to
blame, not they.

The distance to the nearest class mean is that of Lee et al. (2018), "A simple unified framework
for detecting out-of-distribution samples", without the covariance, which did not pay.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.labels.around import Around, Surroundings, blocks, centre_of, some_rows
from pipeline.labels.refine.batch import Batch

Reject = Literal["auto", "none"] | float

_FITTED = 20_000  # rows that directions are fitted to
_SURE = 4  # power of the cosine with a class's direction: how much the clearest images lead
_KNOWN = 0.02  # weight of an image that a person named; a cosine of 0.4 gives as much
_AROUND = 0.8  # share of the neighbours in what is known of an image
_WORDS = 0.5  # what the words say, beside the distance
_CALLED = 0.5  # how much less counts what all neighbours are called alike
_HALF = 2.0  # spreads above the median where a score is 0.5
_ENOUGH = 30  # images below which their spread is not known
_BEST = 0.05  # share of the images whose distance below the median is mirrored
_AGAIN = 1.5  # and this times as far is what no member reaches
_RIDGE = 1e-6
_LEAST = 1e-30


def reject_threshold(scores: np.ndarray, setting: Reject) -> float | None:
    """Return the score from which on images are turned away; None: none of them are.

    `auto` mirrors the batch: the images that fit best lie so far below the median, and half as far
    again above it nearly all lie that belong to a class. At least one spread of the batch, and
    only where there are enough images to know it.

    Args:
        scores: (n,) from `unlike`.
        setting: `label.reject` of the config.
    """
    if setting == "none":
        return None
    if setting != "auto":
        return float(setting)
    asked = scores[scores > 0].astype(np.float64)  # 0 are those that a person named
    if len(asked) < _ENOUGH:
        return None
    below = -(np.log(asked / (1 - np.minimum(asked, 1 - 1e-6))) + _HALF)
    spreads = max(1.0, _AGAIN * float(np.quantile(below, 1 - _BEST)))
    return float(1 / (1 + np.exp(_HALF - spreads)))


def reject_reason(limit: float) -> str:
    """Return the reason for the table, with `{}` where the image's score goes."""
    return f"It fits no class: unlike {{}}, from {limit:g} on images are turned away."


def unlike(batch: Batch, probabilities: np.ndarray) -> np.ndarray:
    """Return how little each image fits any class, (n,) float32 from 0 to 1: see `Unlike`."""
    return Unlike(batch, probabilities, Surroundings(batch)).scores


class Unlike:
    """How little images fit any class, from 0 to 1, as a batch has shown it.

    0.5 is two spreads of the batch above its median. Images whose class a person gave fit: 0.

    Args:
        batch: all images of a run; vectors are read in blocks.
        probabilities: what refinement gave, (n, classes); they say what images are called, which
            classes are there at all, and which space knows them.
        near: who surrounds them.
    """

    def __init__(self, batch: Batch, probabilities: np.ndarray, near: Surroundings) -> None:
        n, classes = batch.plain.shape
        self._fits, self._near = n >= 3 and classes >= 2, near
        self.scores = np.zeros(n, np.float32)  # of the batch
        if not self._fits:
            return
        labels, guesses = probabilities.argmax(axis=1), batch.plain.argmax(axis=1)
        present = np.bincount(labels, minlength=classes) > 0
        self._core = _Core(batch)
        self._guesses = guesses
        self._silent = self._core.silence()
        self._spaces = [
            _InSpace(space.vectors, beside, self, labels, present)
            for space, beside in zip(batch.spaces, near.own, strict=True)
        ]
        far, called = np.zeros(n), np.zeros(n)
        for one in self._spaces:
            far += one.far(one.distances, self._silent, one.near, self)
            called += one.trust * _share_called(guesses, labels, one.near)
        self.scores = self._scored(far, called, batch.known)

    def further(self, batch: Batch, probabilities: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the same, (m,) float32, of images that are none of the batch learned from.

        Args:
            batch: these, in the same spaces.
            probabilities: what refinement gave, (m, classes).
            rows: (m,) int, which images they are, see `Surroundings.further`.
        """
        found = np.zeros(len(batch.plain), np.float32)
        if not self._fits:
            return found
        near = self._near.further(batch, rows)
        for part in blocks(len(found)):
            labels = probabilities[part].argmax(axis=1)
            silent = -self._core.fit(batch.spaces[0].vectors[part]).max(axis=1)
            far, called = np.zeros(len(labels)), np.zeros(len(labels))
            for one, space, around in zip(self._spaces, batch.spaces, near, strict=True):
                beside = around.part(part)
                far += one.far(one.distance(space.vectors[part]), silent, beside, self)
                called += one.trust * _share_called(self._guesses, labels, beside)
            found[part] = self._scored(far, called, batch.known[part])
        return found

    def _scored(self, far: np.ndarray, called: np.ndarray, known: np.ndarray) -> np.ndarray:
        total = 0.0
        for one in self._spaces:
            total += one.trust
        far /= total * (1 + _WORDS)
        far *= np.where(far > 0, 1 - _CALLED * called / total, 1)
        scores = 1 / (1 + np.exp(-np.clip(far - _HALF, -50, 50)))
        scores[known >= 0] = 0
        found: np.ndarray = scores.astype(np.float32)
        return found


class _Core:
    """How much each image speaks for what a class looks like: the words must fit it clearly."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.n = len(batch.plain)
        self._mean = centre_of(batch.spaces[0].vectors)
        self._directions = _directions(batch, self._mean)

    def fit(self, rows: np.ndarray) -> np.ndarray:
        """Return the cosines (m, classes) of vectors (m, dim) of the first space with the
        directions of the classes."""
        vectors = rows.astype(np.float32) - self._mean
        lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
        fit: np.ndarray = vectors @ self._directions.T / lengths
        return fit

    def _fit(self, rows: slice) -> np.ndarray:
        return self.fit(self._batch.spaces[0].vectors[rows])

    def silence(self) -> np.ndarray:
        """Return how little the words say, (n,): minus the best cosine with any class."""
        return np.concatenate([-self._fit(rows).max(axis=1) for rows in blocks(self.n)])

    def weights(self, rows: slice) -> np.ndarray:
        """Return weights (rows, classes) float32; an image whose class a person
        gave counts as the clearest do."""
        batch = self._batch
        weights: np.ndarray = np.maximum(self._fit(rows), 0) ** _SURE * batch.plain[rows]
        known = batch.known[rows]
        given = known >= 0
        weights[given] = _KNOWN * np.eye(batch.plain.shape[1])[known[given]]
        weights *= batch.votes[rows, None]
        return weights


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
    directions: np.ndarray = found.astype(np.float32)
    return directions


class _InSpace:
    """What one space knows of the classes: where they lie, and how far images are from them."""

    def __init__(
        self,
        vectors: np.ndarray,
        near: Around,
        asked: Unlike,
        labels: np.ndarray,
        present: np.ndarray,
    ) -> None:
        self.near = near
        self.trust = _trust(labels, self.near)
        self._centre = centre_of(vectors)
        self._means = _means(vectors, self._centre, asked._core, present)
        self.distances = np.empty(len(vectors))
        for rows in blocks(len(vectors)):
            self.distances[rows] = self.distance(vectors[rows])
        self._far = _scale(_smooth(self.distances, self.distances, self.near))
        self._quiet = _scale(_smooth(asked._silent, asked._silent, self.near))

    def distance(self, vectors: np.ndarray) -> np.ndarray:
        """Return the distance (m,) of vectors (m, dim) to the nearest mean of a class that is
        present; 0 where none is."""
        if not len(self._means):
            return np.zeros(len(vectors))
        moved = vectors.astype(np.float32) - self._centre
        lengths = (self._means**2).sum(axis=1)
        squares = (moved**2).sum(axis=1)[:, None] - 2 * moved @ self._means.T + lengths
        found: np.ndarray = np.sqrt(np.maximum(squares.min(axis=1).astype(np.float64), 0))
        return found

    def far(
        self, distances: np.ndarray, silent: np.ndarray, near: Around, asked: Unlike
    ) -> np.ndarray:
        """Return how far images (m,) lie off and how little the words say of them, in spreads of
        the batch, as this space is to be trusted."""
        off = _above(_smooth(distances, self.distances, near), self._far)
        quiet = _above(_smooth(silent, asked._silent, near), self._quiet)
        found: np.ndarray = self.trust * off
        found += self.trust * _WORDS * quiet
        return found


def _means(vectors: np.ndarray, centre: np.ndarray, core: _Core, present: np.ndarray) -> np.ndarray:
    """Return the mean (k, dim) of each class that is present, beside the centre."""
    classes = len(present)
    sums, weight = np.zeros((classes, vectors.shape[1])), np.zeros(classes)
    for rows in blocks(len(vectors)):
        weights = core.weights(rows)
        sums += weights.T @ (vectors[rows].astype(np.float32) - centre)
        weight += weights.sum(axis=0)
    there = present & (weight > 0)
    means: np.ndarray = (sums[there] / weight[there, None]).astype(np.float32)
    return means


def _smooth(values: np.ndarray, of_batch: np.ndarray, near: Around) -> np.ndarray:
    """Return values (m,) with those (n,) of the neighbours in the batch mixed in."""
    mixed: np.ndarray = (1 - _AROUND) * values + _AROUND * near.mean(of_batch)
    return mixed


def _share_called(guesses: np.ndarray, labels: np.ndarray, near: Around) -> np.ndarray:
    """Return the share (n,) of each image's neighbours whose guess is the image's label."""
    theirs = guesses[near.rows]
    found = np.empty(len(labels))
    for part in blocks(len(labels)):
        links = near.links[part].tocoo()
        same = theirs[links.col] == labels[part][links.row]
        found[part] = np.bincount(links.row, links.data * same, minlength=links.shape[0])
    return found


def _trust(labels: np.ndarray, near: Around) -> float:
    """How far a space is to be believed: how well its neighbourhoods know the labels."""
    shares = np.bincount(labels) / len(labels)
    chance = float((shares**2).sum())
    agree = float(_share_called(labels, labels, near).mean())
    known = max(0.0, (agree - chance) / max(1 - chance, 1e-6))
    return 1 / (1 - known + 0.02) ** 2


def _scale(distance: np.ndarray) -> tuple[float, float]:
    """Return the median of distances and their spread, that of the nearer half, which strangers do
    not reach."""
    low, middle = np.quantile(distance, [0.16, 0.5])
    return middle, max(float(middle - low), 1e-6)


def _above(distance: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Return distances as spreads above the median."""
    middle, spread = scale
    scaled: np.ndarray = (distance - middle) / spread
    return scaled
