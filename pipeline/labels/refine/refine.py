"""Labels from the batch: what the words say of all images, read together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import sparse

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
    together,
)
from pipeline.labels.refine.sample import room, sample_rows

How = Literal["auto", "always", "none"]

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
    told = notices(batch, fitted.rows, fitted.eye, fitted.seen, fitted.readings, fitted.shares)
    weights = dict(zip((one.name for one in batch.spaces), fitted.eye.weights, strict=True))
    if how == "auto":
        refused = _refusal(batch, fitted)
        if refused is not None:
            return Refined(batch.plain, False, refused, weights=weights, notices=told)
    probabilities = _applied(batch, fitted)
    return Refined(
        probabilities, True, _why(batch, fitted, probabilities, how),
        changed_classes=_changed(batch, fitted, probabilities), weights=weights, notices=told,
    )  # fmt: skip


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


def _applied(batch: Batch, fitted: _Fitted) -> np.ndarray:
    """Probabilities (n, classes) float32 for the whole batch."""
    n, classes = batch.plain.shape
    if len(fitted.rows) == n:
        return fitted.shares
    found = room(n, classes)
    readings = fitted.readings
    for start in range(0, n, _BLOCK):
        part = slice(start, min(start + _BLOCK, n))
        plain = np.asarray(batch.plain[part], np.float32)
        seen = fitted.eye.see([np.asarray(space.vectors[part]) for space in batch.spaces])
        links = neighbours(seen, fitted.seen, fitted.votes)
        answers = centred_logits(plain)
        if fitted.looks is not None:
            answers = fitted.looks.shown(answers, seen)
            plain = probabilities_of(answers)
        local = mixed(plain, links @ readings.local)
        smoothed = mixed(answers, links @ readings.smoothed)
        joint = together(
            [mixture.probabilities(smoothed) for mixture in readings.mixtures], readings.weights
        )
        may = fitted.allowed[local.argmax(axis=1), joint.argmax(axis=1)]
        found[part] = np.where(may[:, None], joint, local)
    found[fitted.rows] = fitted.shares
    return found


def _refusal(batch: Batch, fitted: _Fitted) -> str | None:
    """Why the batch is not to be followed, in a sentence; None where it is."""
    asked = trial(
        batch, lambda known: _fit(batch, "auto", known), lambda one: (one.rows, one.shares)
    )
    if asked is not None and asked.decides:
        return None if asked.better else (
            f"Each image is labeled alone: of {asked.answers} answers that people gave, the words "
            f"alone know {asked.plain}, the batch {asked.refined}."
        )  # fmt: skip
    known = acquaintance(fitted.readings.smoothed, fitted.shares, fitted.votes)
    if known.enough:
        return None
    return (
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
