"""Labels from the batch: what the words say of all images, read together."""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np

from pipeline.labels.refine.batch import Batch, Refined
from pipeline.labels.refine.evidence import Acquaintance, acquaintance
from pipeline.labels.refine.known import trial
from pipeline.labels.refine.learn import Fitted, learn
from pipeline.labels.refine.neighbours import neighbours
from pipeline.labels.refine.notices import notices
from pipeline.labels.refine.readings import centred_logits, mixed, probabilities_of
from pipeline.labels.refine.sample import room, vectors_of

How = Literal["auto", "always", "none"]

_WORDS, _LOOKS, _BATCH = "words", "looks", "batch"  # ways to label
_BLOCK = 8192  # images at a time, beyond the sample
_FEWEST = 30  # images from which `auto` lets them speak for one another
_LEAST = 3  # from which that can be done at all


def refine(batch: Batch, how: How = "auto") -> Refined:
    """Return better probabilities for the images of a batch, where the evidence says so.

    Beyond some thousands of images a sample of them is read together, and the others by what was
    learned from it, block by block, so that time is linear and memory flat.

    Args:
        batch: the images.
        how: "auto" asks for evidence, as a whole and for every pair of classes (see
            `pipeline.labels.refine.evidence`); "always" does not; "none" changes nothing.

    Raises:
        TeacherError: vectors of a space are not numbers.
    """
    if (reason := _too_little(batch, how)) is not None:
        return Refined(batch.plain, False, f"Each image is labeled alone: {reason}.")
    fitted = learn(batch, batch.known, everywhere=how == "always")
    if fitted is None:
        names = " and ".join(space.name for space in batch.spaces)
        why = f"Each image is labeled alone: all of them look the same to {names}."
        return Refined(batch.plain, False, why)
    known = acquaintance(fitted.readings.smoothed, fitted.shares, fitted.votes)
    way, evidence = (_BATCH, "") if how == "always" else _way(batch, fitted, known)
    shares = {_WORDS: batch.plain[fitted.rows], _LOOKS: _by_looks(fitted, batch.known)}
    told = notices(batch, fitted.rows, fitted.seen, fitted.readings, shares.get(way, fitted.shares))
    weights = dict(zip((one.name for one in batch.spaces), fitted.eye.weights, strict=True))
    if way == _WORDS:
        return Refined(batch.plain, False, evidence, weights=weights, notices=told, lead=known.lead)
    probabilities = _applied(batch, fitted, together=way == _BATCH)
    moved, touched = _moves(batch, probabilities)
    why = evidence if way == _LOOKS else _why(batch, fitted, known, moved, how) + evidence
    further = partial(_further, fitted=fitted, together=way == _BATCH)
    return Refined(probabilities, True, why, touched, weights, told, known.lead, further)


def _too_little(batch: Batch, how: How) -> str | None:
    """Say why a batch is not looked at; None where it is."""
    n, classes = batch.plain.shape
    if how == "none":
        return "`refine` is `none`"
    if classes < 2:
        return "there are no two classes to choose between"
    if n < (_FEWEST if how == "auto" else _LEAST):
        return f"{n} images are too few to speak for one another"
    return None


def _applied(batch: Batch, fitted: Fitted, together: bool = True) -> np.ndarray:
    """Probabilities (n, classes) float32 for the whole batch: read together, or each image alone by
    the words and by the looks of the known ones."""
    n, classes = batch.plain.shape
    mine = fitted.shares if together else _by_looks(fitted, batch.known)
    if len(fitted.rows) == n:
        return mine
    found = room(n, classes)
    _read(batch, fitted, together, found)
    found[fitted.rows] = mine
    _give(found, batch.known)
    return found


def _further(batch: Batch, fitted: Fitted, together: bool) -> np.ndarray:
    """Probabilities (m, classes) float32 of images that are none of those learned from."""
    found = room(*batch.plain.shape)
    _read(batch, fitted, together, found)
    _give(found, batch.known)
    return found


def _read(batch: Batch, fitted: Fitted, together: bool, found: np.ndarray) -> None:
    """Fill in probabilities (n, classes) by what was learned, block by block."""
    readings = fitted.readings
    for start in range(0, len(found), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(found)))
        seen = fitted.eye.see([vectors_of(space, part) for space in batch.spaces])
        words = answers = centred_logits(batch.spoken[part])
        if fitted.looks is not None:
            answers = fitted.looks.shown(answers, seen)
        plain = probabilities_of(answers)
        if not together:
            found[part] = plain
            continue
        links = neighbours(seen, fitted.seen, fitted.votes)
        local = mixed(plain, links @ readings.local)
        joint = readings.joint(mixed(answers, links @ readings.smoothed))
        worded = None
        if fitted.worded is not None:
            worded = mixed(probabilities_of(words), links @ fitted.worded)
        may = fitted.may_move(local, joint, worded)
        found[part] = np.where(may[:, None], joint, local)


def _give(shares: np.ndarray, known: np.ndarray) -> None:
    """Put in what people said of images."""
    given = np.flatnonzero(known >= 0)
    shares[given] = 0
    shares[given, known[given]] = 1


def _by_looks(fitted: Fitted, known: np.ndarray) -> np.ndarray:
    shares = probabilities_of(fitted.readings.answers)
    _give(shares, known[fitted.rows])
    return shares


def _way(batch: Batch, fitted: Fitted, known: Acquaintance) -> tuple[str, str]:
    """Which way the evidence says to label, and why: a sentence, or, where all images are read
    together, what is to be added to one."""

    def ways(left: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        one = learn(batch, left)
        assert one is not None, "a batch that was fitted can be fitted with fewer known images"
        words = np.asarray(batch.spoken[one.rows])
        return one.rows, {_WORDS: words, _LOOKS: _by_looks(one, left), _BATCH: one.shares}

    expected = _BATCH if known.enough else _WORDS if fitted.looks is None else _LOOKS
    asked = trial(batch, ways)
    # Where people have said enough, the batch can help them, whatever the words know.
    way = expected if asked is None else asked.best(_BATCH)
    alone = f"Each image is labeled alone, by the words{' and what people named' * (way == _LOOKS)}"
    if asked is not None:
        words, looks, joint = asked.found[_WORDS], asked.found[_LOOKS], asked.found[_BATCH]
        told = (
            f" Of {asked.answers} images that people named, hidden, the words alone know {words}, "
            f"with the other named ones {looks}, all images together {joint}."
        )
        return way, told if way == _BATCH else f"{alone}.{told}"
    if way == _BATCH:
        return way, ""
    return way, (
        f"{alone}: the prompts lead at their own images by {max(known.lead, 0):.1f} times the "
        "noise only, so that the batch cannot tell which of them are right. Reword them, name "
        "examples, or answer for a few images."
    )


def _moves(batch: Batch, probabilities: np.ndarray) -> tuple[int, tuple[str, ...]]:
    """How many labels moved, and the classes that they left or came to."""
    n, classes = batch.plain.shape
    moved, touched = 0, np.zeros(classes, bool)
    for start in range(0, n, _BLOCK):
        part = slice(start, start + _BLOCK)
        was, now = batch.plain[part].argmax(axis=1), probabilities[part].argmax(axis=1)
        other = was != now
        moved += int(other.sum())
        touched[was[other]] = touched[now[other]] = True
    return moved, tuple(batch.classes[number] for number in np.flatnonzero(touched).tolist())


def _why(batch: Batch, fitted: Fitted, known: Acquaintance, moved: int, how: How) -> str:
    by = "" if how == "auto" else " because `refine` is `always`"
    local, joint = (one.argmax(axis=1) for one in (fitted.readings.local, fitted.readings.batch))
    stayed = int((~fitted.allowed[local, joint]).sum())
    held = f" {stayed:,} more had no support among their neighbours and stayed." if stayed else ""
    return (
        f"The images were labeled together{by}: the prompts lead at their own images by "
        f"{known.lead:.1f} times the noise, and {moved:,} of {len(batch.plain):,} labels "
        f"moved.{held}"
    )
