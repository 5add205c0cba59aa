"""From all images of a run at once to what is known of each, before anything is decided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from pipeline.config import LabelConfig
from pipeline.labels.refine.batch import Batch
from pipeline.labels.refine.refine import refine
from pipeline.labels.steady import Earlier, hold
from pipeline.labels.verdicts import Verdicts

_BLOCK = 20_000  # rows at a time


def judge(
    batch: Batch, images: pl.Series, settings: LabelConfig, earlier: Earlier | None
) -> Verdicts:
    """Refine a batch, let yesterday's labels stand where nothing clear speaks against them, and say
    what is doubtful.

    Args:
        batch: whose first rows are the run's images.
        images: ids of these.
        settings: whether to refine, and what a label needs.
        earlier: the last labeling, where its labels shall not flap.

    Returns:
        The verdicts on the run's images.
    """
    n = len(images)
    refined = refine(batch, settings.refine)
    verdicts = replace(
        each_alone(batch.plain[:n], batch.known[:n], batch.classes, settings, refined.why),
        probabilities=refined.probabilities[:n],
        refined=refined.refined,
        weights=dict(refined.weights),
        notices=refined.notices,
    )
    if earlier is not None:
        verdicts = hold(verdicts, images, earlier)
    if refined.refined:
        # What a person decided is no answer: beside the decision stands what the words say.
        given = np.flatnonzero(verdicts.known >= 0)
        verdicts = verdicts.with_rows(given, verdicts.plain[given])
    return replace(verdicts, doubt=_doubt(verdicts.probabilities))


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
        doubt=_doubt(plain),
        kept=np.zeros(n, bool),
        min_confidence=settings.min_confidence,
        min_margin=settings.min_margin,
        why=why,
    )


def _doubt(probabilities: np.ndarray) -> np.ndarray:
    """How small the lead of the most probable class is, (n,) float32."""
    found = np.empty(len(probabilities), np.float32)
    for start in range(0, len(found), _BLOCK):
        part = slice(start, start + _BLOCK)
        second, first = np.partition(probabilities[part], -2, axis=1)[:, -2:].T
        found[part] = 1 - (first - second)
    return found
