"""From all images of a run at once to what is known of each, before anything is decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from pipeline.config import LabelConfig
from pipeline.labels.refine.batch import Batch
from pipeline.labels.steady import Earlier, hold
from pipeline.labels.verdicts import Verdicts
from pipeline.labels.words import Words

_BLOCK = 20_000  # rows at a time
_ENOUGH = 30  # images, below which their neighbours do not show how often the words are right


def judge(
    batch: Batch,
    images: pl.Series,
    settings: LabelConfig,
    earlier: Earlier | None,
    words: Callable[[], Words] | None = None,
) -> Verdicts:
    """Refine a batch, let yesterday's labels stand where nothing clear speaks against them, and say
    what is doubtful and what fits no class.

    Args:
        batch: whose first rows are the run's images.
        images: ids of these.
        settings: whether to refine, and what a label needs.
        earlier: the last labeling, where its labels shall not flap.
        words: gives words to hint with at what images show that fit no class.

    Returns:
        The verdicts on the run's images.
    """
    # Here, as they bring scipy, which takes a while.
    from pipeline.labels.calibrate import calibrated
    from pipeline.labels.doubt import doubt
    from pipeline.labels.refine.refine import refine
    from pipeline.labels.strangers import strangers
    from pipeline.labels.unlike import reject_threshold, unlike

    n = len(images)
    refined = refine(batch, settings.refine)
    shares = refined.probabilities
    if refined.refined or (settings.refine != "none" and n >= _ENOUGH):
        # The words' own answers, too, are surer than they are right.
        shares = calibrated(shares, batch, refined.lead)
    fits_not = unlike(batch, shares)
    verdicts = replace(
        each_alone(batch.plain[:n], batch.known[:n], batch.classes, settings, refined.why),
        probabilities=shares[:n],
        unlike=fits_not[:n],
        limit=reject_threshold(fits_not, settings.reject),
        refined=refined.refined,
        weights=dict(refined.weights),
        notices=(*refined.notices, *strangers(batch, fits_not, words)),
    )
    if earlier is not None:
        verdicts = hold(verdicts, images, earlier)
        if verdicts.kept.any():
            shares = np.concatenate([verdicts.probabilities, shares[n:]])
    own = doubt(batch, shares)[:n]
    given = np.flatnonzero(verdicts.known >= 0)
    if len(given):
        # What a person decided is no answer: beside the decision stands what the words say.
        verdicts = verdicts.with_rows(given, verdicts.plain[given])
        own[given] = lack_of_lead(verdicts.plain[given])
    return replace(verdicts, doubt=own)


def each_alone(
    plain: np.ndarray, known: np.ndarray, classes: tuple[str, ...], settings: LabelConfig, why: str
) -> Verdicts:
    """Return the verdicts of the words, which look at each image alone.

    Args:
        plain: probabilities (n, classes) float32.
        known: (n,) int, index of the class that a person gave; -1: nobody has.
        classes: in class order.
        settings: what a label needs.
        why: a sentence: why the other images have no say.
    """
    n = len(plain)
    return Verdicts(
        classes=classes,
        plain=plain,
        probabilities=plain,
        known=known,
        unlike=np.zeros(n, np.float32),
        doubt=lack_of_lead(plain),
        kept=np.zeros(n, bool),
        min_confidence=settings.min_confidence,
        min_margin=settings.min_margin,
        why=why,
    )


def lack_of_lead(probabilities: np.ndarray) -> np.ndarray:
    """Return how small the lead of the most probable class is, (n,) float32 from 0 to 1: the doubt
    where nothing but an image's own probabilities is known."""
    found = np.empty(len(probabilities), np.float32)
    for start in range(0, len(found), _BLOCK):
        part = slice(start, start + _BLOCK)
        second, first = np.partition(probabilities[part], -2, axis=1)[:, -2:].T
        found[part] = 1 - (first - second)
    return found
