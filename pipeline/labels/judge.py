"""From all images of a run at once to what is known of each, before anything is decided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from pipeline.config import LabelConfig
from pipeline.labels.refine.batch import Batch
from pipeline.labels.spread import Spread
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
    from pipeline.labels.around import Surroundings
    from pipeline.labels.calibrate import cooled, temperature_of
    from pipeline.labels.doubt import Doubter
    from pipeline.labels.refine.refine import refine
    from pipeline.labels.strangers import strangers
    from pipeline.labels.unlike import Unlike, reject_threshold

    n = len(images)
    learned = batch if batch.sample is None else batch.part(batch.sample)
    refined = refine(learned, settings.refine)
    shares, temperature = refined.probabilities, None
    enough = n if batch.sample is None else len(batch.sample)
    if refined.refined or (settings.refine != "none" and enough >= _ENOUGH):
        # The words' own answers, too, are surer than they are right.
        temperature = temperature_of(shares, learned, refined.lead)
        shares = cooled(shares, temperature, learned.known)
    near = Surroundings(learned, len(batch.plain) if batch.sample is not None else 0)
    fits = Unlike(learned, shares, near)
    notices = (*refined.notices, *strangers(learned, fits.scores, words))

    def believed(other: Batch) -> np.ndarray:
        plain = other.plain if refined.further is None else refined.further(other)
        return cooled(plain, temperature, other.known)

    everywhere = Spread(batch, n)
    found = everywhere.of(shares, lambda other, _: believed(other))
    verdicts = replace(
        each_alone(batch.plain[:n], batch.known[:n], batch.classes, settings, refined.why),
        probabilities=found,
        unlike=everywhere.of(
            fits.scores, lambda other, rows: fits.further(other, found[rows], rows)
        ),
        limit=reject_threshold(fits.scores, settings.reject),
        refined=refined.refined,
        weights=dict(refined.weights),
        notices=everywhere.named(notices),
    )
    if batch.sample is not None:
        why = _learned(verdicts.why, len(batch.sample), n)
        verdicts = replace(verdicts, sampled=len(batch.sample), why=why)
    kept = np.empty(0, np.int64)
    if earlier is not None:
        verdicts = hold(verdicts, images, earlier)
        kept = np.flatnonzero(verdicts.kept)
        if len(kept) and batch.sample is None:
            shares = np.concatenate([verdicts.probabilities, shares[n:]])
    doubts, now = Doubter(learned, shares, near), verdicts.probabilities
    own = everywhere.of(
        doubts.scores, lambda other, rows: doubts.further(other, now[rows], rows), kept
    )
    return _with_doubt(verdicts, own)


def _with_doubt(verdicts: Verdicts, doubt: np.ndarray) -> Verdicts:
    """Put in how doubtful labels are, (n,). What a person decided is no answer: beside the decision
    stands what the words say."""
    given = np.flatnonzero(verdicts.known >= 0)
    if len(given):
        verdicts = verdicts.with_rows(given, verdicts.plain[given])
        doubt[given] = lack_of_lead(verdicts.plain[given])
    return replace(verdicts, doubt=doubt)


def _learned(why: str, sample: int, images: int) -> str:
    return (
        f"{why} All this was learned from a sample of {sample:,} and holds for {images:,} images."
    )


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
