"""Probabilities that mean what they say: accepted at 0.8 should be right about 80 times of 100."""

from __future__ import annotations

import math

import numpy as np

from pipeline.labels.around import around, blocks, some_rows
from pipeline.labels.refine.batch import Batch
from pipeline.labels.refine.neighbours import Eye, Sight, neighbours

_SAMPLE = 6000  # images that the temperature is estimated from
_ASKED = 2000  # images whose class people gave that correct it, at most
_TEMPERATURES = np.exp(np.linspace(-1.0, 3.0, 81))  # 0.37 to 20
_BELIEF = 5.0  # what the estimate without labels weighs beside the answers of people
_LEAST = 1e-12


def calibrated(probabilities: np.ndarray, batch: Batch, lead: float | None = None) -> np.ndarray:
    """Return probabilities (n, classes) float32 that are as sure as they are right; which class is
    the likeliest stays: see `temperature_of`.

    Args:
        probabilities: what refinement gave, or the plain ones.
        batch: the images; rows whose class is known stay as they are.
        lead: see `Refined.lead`.
    """
    return cooled(probabilities, temperature_of(probabilities, batch, lead), batch.known)


def temperature_of(
    probabilities: np.ndarray, batch: Batch, lead: float | None = None
) -> float | None:
    """Return the temperature at which probabilities (n, classes) are as sure as they are right;
    None where there is too little to tell.

    One temperature for all (Guo et al., 2017, "On calibration of modern neural networks"). Without
    labels it is the one at which the mean confidence is the accuracy that `estimated_accuracy`
    gives. Classes that people gave correct it: the temperature must suit what the neighbours of
    those images say, which have not heard the answer. The arguments are those of `calibrated`.
    """
    n, classes = probabilities.shape
    if n < 3 or classes < 2:
        return None
    asked = np.flatnonzero(batch.known >= 0)
    asked = asked[some_rows(len(asked), _ASKED)]
    return _temperature(probabilities, batch, asked, lead)


def cooled(probabilities: np.ndarray, temperature: float | None, known: np.ndarray) -> np.ndarray:
    """Return probabilities (n, classes) float32 at a temperature. Rows whose class is known, (n,)
    int from 0 on, stay as they are, and all of them where there is no temperature."""
    if temperature is None:
        return probabilities
    found = np.empty(probabilities.shape, np.float32)
    for part in blocks(len(found)):
        found[part] = _at(probabilities[part], temperature)
    found[known >= 0] = probabilities[known >= 0]
    return found


def estimated_accuracy(
    probabilities: np.ndarray, batch: Batch, rows: np.ndarray, lead: float | None = None
) -> float:
    """Return the share of labels that are right, as far as that shows without knowing any, 0 to 1.

    The neighbours' probabilities of an image's label are asked, in the space where they agree best,
    and how well prompts and images know each other: where prompts lead by little, words that were
    chosen by chance make labels that neighbours share. Where nobody knows that, the words alone are
    asked: of the labels that they do not share, half are taken for wrong. An error that the words
    and a whole neighbourhood share shows in neither; only answers of people find it.

    Args:
        probabilities: (n, classes).
        batch: the images.
        rows: (m,) those to judge by, at least 2.
        lead: see `Refined.lead`.
    """
    theirs = probabilities[rows]
    labels = theirs.argmax(axis=1)
    assent = max(
        float(around(space.vectors[rows], batch.votes[rows]).support(theirs, labels).mean())
        for space in batch.spaces
    )
    if lead is not None:
        return assent * (1 - math.exp(-max(lead, 0)))
    same = float((batch.plain[rows].argmax(axis=1) == labels).mean())
    return assent * (1 + same) / 2


def _temperature(
    probabilities: np.ndarray, batch: Batch, asked: np.ndarray, lead: float | None
) -> float:
    rows = some_rows(len(probabilities), _SAMPLE)
    accuracy = estimated_accuracy(probabilities, batch, rows, lead)
    confidence = np.array([_at(probabilities[rows], t).max(axis=1).mean() for t in _TEMPERATURES])
    start = _TEMPERATURES[np.abs(confidence - accuracy).argmin()]
    if not len(asked):
        return float(start)
    heard = _of_neighbours(probabilities, batch, rows, asked)
    right = batch.known[asked]
    losses = [
        -np.log(np.maximum(_at(heard, t)[np.arange(len(asked)), right], _LEAST)).sum()
        for t in _TEMPERATURES
    ]
    belief = _BELIEF * np.log(_TEMPERATURES / start) ** 2
    return float(_TEMPERATURES[np.argmin(np.array(losses) + belief)])


def _of_neighbours(
    probabilities: np.ndarray, batch: Batch, rows: np.ndarray, asked: np.ndarray
) -> np.ndarray:
    """Return the mean probabilities (m, classes) of the neighbours, among `rows`, of images that
    people were asked for; those are no neighbours of one another."""
    others = np.setdiff1d(rows, asked)
    if len(others) < 2:
        alone: np.ndarray = batch.plain[asked]
        return alone
    votes = batch.votes[others]
    heard = np.zeros((len(asked), probabilities.shape[1]))
    for space in batch.spaces:
        eye = Eye((Sight.of(space.vectors[others], votes),), (1.0,))
        seen, sample = eye.see([space.vectors[asked]]), eye.see([space.vectors[others]])
        heard += neighbours(seen, sample, votes) @ probabilities[others]
    return heard


def _at(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities (n, classes) at a temperature: above 1 they are less sure."""
    logits = np.log(np.maximum(probabilities, _LEAST, dtype=np.float64)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights  # type: ignore[no-any-return]
