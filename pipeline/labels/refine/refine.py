"""Labels from the batch: what the words say of all images, read together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.labels.refine.batch import Batch, Refined
from pipeline.labels.refine.evidence import acquaintance, moves
from pipeline.labels.refine.known import Looks, looks_of, trial
from pipeline.labels.refine.neighbours import Eye, Sight, neighbours
from pipeline.labels.refine.notices import notices
from pipeline.labels.refine.readings import (
    Readings,
    agreement,
    centred_logits,
    mixed,
    probabilities_of,
    read,
)
from pipeline.labels.refine.sample import room, sample_rows

if TYPE_CHECKING:
    from scipy import sparse

How = Literal["auto", "always", "none"]

_WORDS, _LOOKS, _BATCH = "words", "looks", "batch"  # ways to label
_BLOCK = 8192  # images at a time, beyond the sample
_FEWEST = 30  # images from which `auto` lets them speak for one another
_CERTAIN = 1.02  # keeps the odds of a space that agrees with itself everywhere finite


@dataclass(frozen=True)
class _Look:
    """A sample as one eye sees it, and what the words then say."""

    seen: np.ndarray  # (s, dims)
    links: sparse.csr_array  # (s, s)
    looks: Looks | None
    readings: Readings


@dataclass(frozen=True)
class _Fitted:
    """What was learned on a sample of the batch."""

    rows: np.ndarray  # of the batch, in the sample
    eye: Eye
    seen: np.ndarray  # (s, dims): the sample, as the eye sees it
    votes: np.ndarray  # (s,)
    readings: Readings
    looks: Looks | None
    allowed: np.ndarray  # (classes, classes) bool: from where to where images may move
    shares: np.ndarray  # probabilities (s, classes) float32, refined


def refine(batch: Batch, how: How = "auto") -> Refined:
    """Return better probabilities for the images of a batch, where the evidence says so.

    Beyond some thousands of images a sample of them is read together, and the others by what was
    learned from it, block by block, so that time is linear and memory flat.

    Args:
        batch: the images.
        how: "auto" asks for evidence, as a whole and for every pair of classes (see
            `pipeline.labels.refine.evidence`); "always" does not; "none" changes nothing.
    """
    if how == "none":
        return Refined(batch.plain, False, "Each image is labeled alone: `refine` is `none`.")
    n = len(batch.plain)
    if how == "auto" and n < _FEWEST:
        why = f"Each image is labeled alone: {n} images are too few to speak for one another."
        return Refined(batch.plain, False, why)
    if n < 3:
        return Refined(batch.plain, False, "Each image is labeled alone: there are too few.")
    fitted = _fit(batch, how, batch.known)
    told = notices(batch, fitted.rows, fitted.seen, fitted.readings, fitted.shares)
    weights = dict(zip((one.name for one in batch.spaces), fitted.eye.weights, strict=True))
    if how == "auto":
        way, why = _way(batch, fitted)
        if way == _WORDS:
            return Refined(batch.plain, False, why, weights=weights, notices=told)
        if way == _LOOKS:
            alone = _applied(batch, fitted, together=False)
            return Refined(alone, True, why, batch.classes, weights, told)
    probabilities = _applied(batch, fitted)
    return Refined(
        probabilities,
        True,
        _why(batch, fitted, probabilities, how),
        changed_classes=_changed(batch, fitted, probabilities),
        weights=weights,
        notices=told,
    )


def _fit(batch: Batch, how: How, known: np.ndarray) -> _Fitted:
    rows, votes = sample_rows(batch)
    given = known[rows]
    logits = centred_logits(batch.plain[rows])
    vectors = [np.asarray(space.vectors[rows], np.float32) for space in batch.spaces]
    sights = tuple(Sight.of(part, votes) for part in vectors)
    own = np.arange(len(rows))

    def look(eye: Eye, witness: np.ndarray | None = None) -> _Look:
        seen = eye.see(vectors)
        links = neighbours(seen, seen, votes, own)
        looks = looks_of(logits, seen, given)
        answers = logits if looks is None else looks.shown(logits, seen)
        readings = read(answers, links, votes, given, batch.prior, witness)
        return _Look(seen, links, looks, readings)

    eye = Eye(sights, (1.0, *(0.0,) * (len(sights) - 1)))
    if len(sights) > 1:
        eye = replace(eye, weights=_earned(look(eye.alone(each)) for each in range(len(sights))))
    best = int(np.argmax(eye.weights))
    trusted = best > 0 and eye.weights[best] > 0.5
    found = look(eye, eye.alone(best).see(vectors) if trusted else None)
    readings = found.readings
    local, joint = readings.local.argmax(axis=1), readings.batch.argmax(axis=1)
    if how == "always":
        allowed = np.ones((len(batch.classes),) * 2, bool)
    else:
        allowed = moves(readings.smoothed, local, joint, found.links)
    shares = np.where(allowed[local, joint][:, None], readings.batch, readings.local)
    return _Fitted(rows, eye, found.seen, votes, readings, found.looks, allowed, shares)


def _earned(looks: Iterable[_Look]) -> tuple[float, ...]:
    """What each space is to weigh, given a look by each alone: the odds that neighbours in it agree
    with what the words say when they are read by it. A space in which things alike lie apart gives
    noisy labels, and shows it."""
    kappas = [agreement(look.readings.batch, look.links) for look in looks]
    odds = [kappa / (_CERTAIN - kappa) for kappa in kappas]
    if (total := sum(odds)) <= 0:
        return (1.0, *(0.0,) * (len(odds) - 1))
    return tuple(one / total for one in odds)


def _applied(batch: Batch, fitted: _Fitted, together: bool = True) -> np.ndarray:
    """Probabilities (n, classes) float32 for the whole batch: read together, or each image alone by
    the words and by the looks of the known ones."""
    n, classes = batch.plain.shape
    readings = fitted.readings
    mine = fitted.shares if together else _by_looks(fitted, batch.known)
    if len(fitted.rows) == n:
        return mine
    found = room(n, classes)
    for start in range(0, n, _BLOCK):
        part = slice(start, min(start + _BLOCK, n))
        seen = fitted.eye.see([np.asarray(space.vectors[part]) for space in batch.spaces])
        answers = centred_logits(batch.plain[part])
        if fitted.looks is not None:
            answers = fitted.looks.shown(answers, seen)
        plain = probabilities_of(answers)
        if not together:
            found[part] = plain
            continue
        links = neighbours(seen, fitted.seen, fitted.votes)
        local = mixed(plain, links @ readings.local)
        joint = readings.joint(mixed(answers, links @ readings.smoothed))
        may = fitted.allowed[local.argmax(axis=1), joint.argmax(axis=1)]
        found[part] = np.where(may[:, None], joint, local)
    found[fitted.rows] = mine
    given = np.flatnonzero(batch.known >= 0)
    found[given] = 0
    found[given, batch.known[given]] = 1
    return found


def _by_looks(fitted: _Fitted, known: np.ndarray) -> np.ndarray:
    shares = probabilities_of(fitted.readings.answers)
    given = np.flatnonzero(known[fitted.rows] >= 0)
    shares[given] = 0
    shares[given, known[fitted.rows][given]] = 1
    return shares


def _way(batch: Batch, fitted: _Fitted) -> tuple[str, str]:
    """Which way the evidence says to label, and why in a sentence."""

    def ways(known: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        one = _fit(batch, "auto", known)
        words = np.asarray(batch.plain[one.rows])
        return one.rows, {_WORDS: words, _LOOKS: _by_looks(one, known), _BATCH: one.shares}

    known = acquaintance(fitted.readings.smoothed, fitted.shares, fitted.votes)
    expected = _BATCH if known.enough else _WORDS if fitted.looks is None else _LOOKS
    if (asked := trial(batch, ways)) is not None:
        way = asked.best(expected)
        words, looks, joint = asked.found[_WORDS], asked.found[_LOOKS], asked.found[_BATCH]
        alone = "by the words" if way == _WORDS else "by the words and what people named"
        return way, (
            f"Each image is labeled alone, {alone}: of {asked.answers} images that people named, "
            f"hidden, the words alone know {words}, with the other named ones {looks}, all images "
            f"together {joint}."
        )
    return expected, (
        "Each image is labeled alone: the prompts lead at their own images by "
        f"{max(known.lead, 0):.1f} times the noise only, so that the batch cannot tell which of "
        "them are right. Reword them, name examples, or answer for a few images."
    )


def _changed(batch: Batch, fitted: _Fitted, probabilities: np.ndarray) -> tuple[str, ...]:
    rows = fitted.rows
    was, now = batch.plain[rows].argmax(axis=1), probabilities[rows].argmax(axis=1)
    touched = np.union1d(was[was != now], now[was != now])
    return tuple(batch.classes[number] for number in touched.tolist())


def _why(batch: Batch, fitted: _Fitted, probabilities: np.ndarray, how: How) -> str:
    n = len(batch.plain)
    moved = 0
    for start in range(0, n, _BLOCK):
        part = slice(start, start + _BLOCK)
        moved += int((batch.plain[part].argmax(axis=1) != probabilities[part].argmax(axis=1)).sum())
    known = acquaintance(fitted.readings.smoothed, fitted.shares, fitted.votes)
    by = "" if how == "auto" else " because `refine` is `always`"
    local, joint = (one.argmax(axis=1) for one in (fitted.readings.local, fitted.readings.batch))
    stayed = int((~fitted.allowed[local, joint]).sum())
    held = f" {stayed:,} more had no support among their neighbours and stayed." if stayed else ""
    return (
        f"The images were labeled together{by}: the prompts lead at their own images by "
        f"{known.lead:.1f} times the noise, and {moved:,} of {n:,} labels moved.{held}"
    )
