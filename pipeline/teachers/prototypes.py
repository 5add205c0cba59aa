"""Words and example images of the classes as one zero-shot classifier.

Every answer gets a prototype among the images: a point that stands for it. A class that has
examples is placed near their mean (prototypical networks: Snell et al., NeurIPS 2017); a class that
has words is placed where its words lie, moved over the gap between images and texts (Liang et al.,
NeurIPS 2022), which the examples show; a class that has both is placed between the two, the nearer
to its examples the more there are, n / (n + k), as the posterior mean of a normal distribution
(the shrinkage of StatA, Zanella et al., CVPR 2025). How much classes and their images scatter, and
how far words can be trusted, is estimated from all examples together, each estimate with a prior
worth a few observations, so that one example is enough to begin with. A class with words only and
one with examples only are then two points in one space, and neither has a head start.

An image's logits are those of normal distributions around the prototypes that share one variance.
The distance between two vectors has far fewer independent parts than dimensions; how many is fitted
on examples that are left out (as Tip-Adapter, Zhang et al., ECCV 2022, searches its two weights).

Tried and dropped, on five to sixteen sets of photos and two teachers: logits of words plus weighted
logits of examples (no better at its best weight, and nothing that says the weight); a covariance of
all dimensions, shrunk (worse below 20 examples a class); a variance of its own for each class
(worse for classes with words only).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.ontology import Ontology

# What is believed before anything was seen, from photos of many kinds and two teachers: the
# variance of images within their classes over that of classes; how well words point to their class
# (a cosine); by how much a teacher's own scale, which is made for words, is too large for examples.
_WITHIN, _ALIGNED, _SHARPER = 5.0, 0.4, 3.0
_WORTH = 3.0  # observations that a belief about a variance counts for
_SPREAD = 0.5  # standard deviation of the belief about the parts, as a logarithm
_IMAGES, _TEXTS = 0.4, 0.4  # variance of one image, and of one class's words, where none tells
_LEAST = 1e-6  # variance: examples may be one picture, saved several times
_FOLDS, _MOST_LEFT_OUT = 10, 2000  # examples that are left out at a time, and of all those counted
_SCALES = np.geomspace(1, 2000, 77)


@dataclass(frozen=True)
class Prototypes:
    """A prototype for each answer of an ontology (see `Ontology.answers`)."""

    centre: np.ndarray  # (dim,) of the classes, among the images
    points: np.ndarray  # (answers, dim) from the centre
    scale: float  # what squared distances are multiplied by, halved

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return logits (n, answers) float64 for unit vectors of images (n, dim)."""
        return self.scale * _closeness(self.centre, self.points, images.astype(np.float64))


class _Words(NamedTuple):
    """The words of an ontology's classes, around their common centre."""

    prompts: np.ndarray  # (prompts, dim)
    classes: np.ndarray  # (classes, dim) mean of each class's prompts; 0 where it has none
    worded: np.ndarray  # (classes,) bool
    spread: float  # mean squared length of those that have words


class _Scatter(NamedTuple):
    """Variances, as sums over all dimensions."""

    within: float  # of images around their class
    between: float  # of classes around their centre


def fit_prototypes(
    examples: np.ndarray,
    example_classes: np.ndarray,
    prompts: np.ndarray,
    ontology: Ontology,
    logit_scale: float,
) -> Prototypes:
    """Place the answers of an ontology among the images.

    Args:
        examples: unit vectors (n, dim), at least one for each class of `ontology.examples`.
        example_classes: index of each one's class, (n,).
        prompts: unit vectors (prompts, dim).
        logit_scale: the teacher's own factor on cosines of images and texts.
    """
    images = examples.astype(np.float64)
    words = _words(prompts.astype(np.float64), ontology)
    fitted = _Fit(images, example_classes, words, ontology)
    parts = _parts(images, example_classes, words, ontology, fitted.expected_parts(logit_scale))
    return Prototypes(fitted.centre, fitted.points, parts / fitted.scatter.within)


def _words(prompts: np.ndarray, ontology: Ontology) -> _Words:
    worded = np.array(ontology.worded)
    of = np.array(ontology.prompt_classes, int)
    sums = np.zeros((len(worded), prompts.shape[1]))
    np.add.at(sums, of, prompts)
    means = sums / np.maximum(np.bincount(of, minlength=len(worded)), 1)[:, None]
    if not worded.any():
        return _Words(prompts, means, worded, _TEXTS)
    centre = means[worded].mean(axis=0)
    count = int(worded.sum())
    spread = _TEXTS
    if count > 1:
        spread = max(float(((means[worded] - centre) ** 2).sum()) / (count - 1), _LEAST)
    if count < 3:  # a centre of so few is mostly they themselves
        centre = _shrunk(centre, spread / count)
    return _Words(prompts - centre, np.where(worded[:, None], means - centre, 0), worded, spread)


class _Fit:
    """The prototypes of all answers, and what was estimated on the way."""

    def __init__(
        self, images: np.ndarray, of: np.ndarray, words: _Words, ontology: Ontology
    ) -> None:
        counts = np.bincount(of, minlength=len(words.worded)).astype(np.float64)
        shown = counts > 0
        sums = np.zeros_like(words.classes)
        np.add.at(sums, of, images)
        means = sums / np.maximum(counts, 1)[:, None]
        inside = float(((images - means[of]) ** 2).sum())
        self.scatter = _scatter(means[shown], counts[shown], inside)
        within, between = self.scatter
        self._place(means, counts, words)
        doubt = np.where(words.worded, self.residual, between)  # variance before any example
        pull = within / doubt  # examples that the belief is worth
        self.own = counts / (counts + pull)  # (classes,) weight of the examples
        answers = np.array(ontology.answer_classes)
        anchors = np.zeros((len(answers), images.shape[1]))
        anchors[: len(words.prompts)] = self.reach * words.prompts
        own = self.own[answers, None]
        self.points = own * (means - self.centre)[answers] + (1 - own) * anchors
        self.known = (shown | words.worded)[answers]
        self._worded = words.worded

    def _place(self, means: np.ndarray, counts: np.ndarray, words: _Words) -> None:
        """Find the centre of the classes among the images, how far they lie from it for a step of
        their words (`reach`), and the variance of what words do not tell (`residual`)."""
        within, between = self.scatter
        shown = counts > 0
        both = shown & words.worded
        believed = _ALIGNED * float(np.sqrt(between / words.spread))
        told = between * (1 - _ALIGNED**2)
        self.reach, self.residual = believed, told
        sampling = within / np.maximum(counts, 1)
        for _ in range(3):  # each of the three needs the two others; they settle at once
            doubt = np.where(words.worded, self.residual, between)
            weights = np.where(shown, 1 / (doubt + sampling), 0)
            rest = means - self.reach * words.classes
            centre = weights @ rest / weights.sum()
            self.centre = _shrunk(centre, 1 / weights.sum())
            if not both.any():
                return
            away = (means - self.centre)[both]
            texts, trust = words.classes[both], weights[both]
            worth = _WORTH / (told + within) * words.spread
            along = trust @ (away * texts).sum(axis=1) + worth * believed
            self.reach = max(along / (trust @ (texts**2).sum(axis=1) + worth), believed / 10)
            left = ((away - self.reach * texts) ** 2).sum(axis=1) - sampling[both]
            residual = (left.sum() + _WORTH * told) / (len(left) + _WORTH)
            self.residual = max(float(residual), within / 20)

    def expected_parts(self, logit_scale: float) -> float:
        """Return how many independent parts a distance is believed to have: as far as words place
        the prototypes, so many that the logits are the teacher's own."""
        own = float(np.clip(logit_scale * self.scatter.within / self.reach, *_SCALES[[0, -1]]))
        by_words = float(np.where(self._worded, 1 - self.own, 0).mean())
        return float(own / _SHARPER ** (1 - by_words))


def _scatter(means: np.ndarray, counts: np.ndarray, inside: float) -> _Scatter:
    """Estimate how images and classes scatter.

    Args:
        means: of the examples of each class that has some, (classes, dim).
        counts: of them.
        inside: sum of the squared distances of examples to the mean of their class.
    """
    classes, free = len(means), counts.sum() - len(means)
    of_means = float((1 / counts).mean())  # part of the variance within that means still have
    if classes == 1:
        within = max((inside + _WORTH * _IMAGES) / (free + _WORTH), _LEAST)
        return _Scatter(within, within / _WITHIN)
    seen = float(((means - means.mean(axis=0)) ** 2).sum()) / (classes - 1)
    believed = seen / (1 / _WITHIN + of_means)
    within = max((inside + _WORTH * believed) / (free + _WORTH), _LEAST)
    between = (classes - 1) * (seen - within * of_means) + _WORTH * within / _WITHIN
    return _Scatter(within, max(between / (classes - 1 + _WORTH), within / 20))


def _shrunk(mean: np.ndarray, variance: float) -> np.ndarray:
    """A mean, drawn towards 0 by as much of its length as may be chance (James and Stein, 1961).
    Without it the centre of one class would be that class."""
    length = float(mean @ mean)
    drawn: np.ndarray = mean * max(0.0, 1 - variance / max(length, _LEAST))
    return drawn


def _closeness(centre: np.ndarray, points: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Halved squared distances, negative, without what all answers share, (n, answers)."""
    close: np.ndarray = (images - centre) @ points.T - (points**2).sum(axis=1) / 2
    return close


def _parts(
    images: np.ndarray, of: np.ndarray, words: _Words, ontology: Ontology, expected: float
) -> float:
    """Find how many independent parts the distances have: those that make examples which are left
    out likeliest, together with what is expected."""
    order = np.argsort(of, kind="stable")
    folds = np.empty(len(of), int)
    folds[order] = np.arange(len(of)) % min(_FOLDS, len(of))  # of each class a part, at a time
    counted = np.zeros(len(of), bool)
    counted[order[:: -(-len(of) // _MOST_LEFT_OUT)]] = True
    classes = np.array(ontology.answer_classes)
    surprise = 0.5 * (np.log(_SCALES / expected) / _SPREAD) ** 2
    for fold in range(folds.max() + 1 if len(of) > 1 else 0):
        rest, out = folds != fold, (folds == fold) & counted
        fitted = _Fit(images[rest], of[rest], words, ontology)
        known = np.isin(of[out], classes[fitted.known])  # a class whose only example is left out
        close = _closeness(fitted.centre, fitted.points, images[out][known])
        close = np.where(fitted.known, close, -np.inf) / fitted.scatter.within
        surprise += [_surprise(scale * close, of[out][known], classes) for scale in _SCALES]
    return float(_SCALES[surprise.argmin()])


def _surprise(logits: np.ndarray, truth: np.ndarray, classes: np.ndarray) -> float:
    """The negative logarithm of the probability of the true classes; a class's prompts count
    together, by their mean.

    Args:
        logits: (n, answers).
        truth: class index of each, (n,).
        classes: class index of each answer.
    """
    if not len(truth):
        return 0.0
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= np.bincount(classes)[classes]
    own = np.where(classes == truth[:, None], weights, 0).sum(axis=1)
    return float(-np.log(np.maximum(own / weights.sum(axis=1), 1e-12)).sum())
