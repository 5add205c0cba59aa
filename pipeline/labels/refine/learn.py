"""What is learned on a sample of a batch: whose sight to trust, and what the words then say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.labels.refine.batch import Batch
from pipeline.labels.refine.evidence import moves
from pipeline.labels.refine.known import Looks, looks_of
from pipeline.labels.refine.neighbours import Eye, Sight, neighbours
from pipeline.labels.refine.readings import (
    Readings,
    agreement,
    centred_logits,
    probabilities_of,
    read,
    voted,
)
from pipeline.labels.refine.sample import sample_rows, vectors_of

if TYPE_CHECKING:
    from scipy import sparse

_SHOWN = 5  # images by which a class is known
_CERTAIN = 1.02  # keeps the odds of a space that agrees with itself everywhere finite


@dataclass(frozen=True)
class _Look:
    """A sample as one eye sees it, and what the words then say."""

    seen: np.ndarray  # (s, dims)
    links: sparse.csr_array  # (s, s)
    looks: Looks | None
    readings: Readings


@dataclass(frozen=True)
class Fitted:
    """What was learned on a sample of the batch."""

    rows: np.ndarray  # of the batch, in the sample
    eye: Eye
    seen: np.ndarray  # (s, dims): the sample, as the eye sees it
    votes: np.ndarray  # (s,)
    readings: Readings
    looks: Looks | None
    # Probabilities (s, classes) by the neighbours' vote of the words alone; None where nobody is
    # known by looks.
    worded: np.ndarray | None
    unshown: np.ndarray  # (classes,) bool: of which people have named few images, or none
    allowed: np.ndarray  # (classes, classes) bool: from where to where images may move
    shares: np.ndarray  # probabilities (s, classes) float32, refined

    def may_move(
        self, local: np.ndarray, joint: np.ndarray, worded: np.ndarray | None
    ) -> np.ndarray:
        """Say which images (m,) may have the mixture's class in place of their neighbours'.

        Answers for odd images, or a mistaken one, may turn the looks of a whole class that nobody
        has shown: what the mixture and the words alone both say of it needs no more evidence.

        Args:
            local: probabilities (m, classes) by the neighbours' vote.
            joint: the same by the mixture.
            worded: by the neighbours' vote of the words alone, where images are known by looks.
        """
        now = joint.argmax(axis=1)
        found: np.ndarray = self.allowed[local.argmax(axis=1), now]
        if worded is not None:
            found = found | (self.unshown[now] & (worded.argmax(axis=1) == now))
        return found


def learn(batch: Batch, known: np.ndarray, everywhere: bool = False) -> Fitted | None:
    """Learn from a batch; None where no space tells any image from another.

    Args:
        batch: the images.
        known: (n,) int, as `batch.known`, of which something may be hidden.
        everywhere: images may move from any class to any other, whatever the evidence.

    Raises:
        TeacherError: vectors of a space are not numbers.
    """
    rows, votes = sample_rows(batch)
    given = known[rows]
    logits = centred_logits(batch.spoken[rows])
    vectors = [vectors_of(space, rows) for space in batch.spaces]
    sights = tuple(Sight.of(part, votes) for part in vectors)
    seeing = [number for number, sight in enumerate(sights) if sight.spread > 0]
    if not seeing:
        return None
    own = np.arange(len(rows))

    def look(eye: Eye, witness: np.ndarray | None = None) -> _Look:
        seen = eye.see(vectors)
        links = neighbours(seen, seen, votes, own)
        looks = looks_of(logits, seen, given)
        answers = logits if looks is None else looks.shown(logits, seen)
        readings = read(answers, links, votes, given, batch.prior, witness)
        return _Look(seen, links, looks, readings)

    eye = Eye(sights, (1.0,) * len(sights)).alone(seeing[0])
    if len(seeing) > 1:
        earned = dict(zip(seeing, _earned(look(eye.alone(each)) for each in seeing), strict=True))
        weights = tuple(earned.get(each, 0.0) for each in range(len(sights)))
        eye = replace(eye, weights=weights)
    best = int(np.argmax(eye.weights))
    trusted = best > 0 and eye.weights[best] > 0.5
    found = look(eye, eye.alone(best).see(vectors) if trusted else None)
    readings = found.readings
    local, joint = readings.local.argmax(axis=1), readings.batch.argmax(axis=1)
    if everywhere:
        allowed = np.ones((len(batch.classes),) * 2, bool)
    else:
        allowed = moves(readings.smoothed, local, joint, found.links)
    worded = None
    if found.looks is not None:
        worded = voted(probabilities_of(logits), found.links, given)
    shown = np.bincount(given[given >= 0], minlength=len(batch.classes))
    fitted = Fitted(
        rows, eye, found.seen, votes, readings, found.looks, worded, shown < _SHOWN, allowed,
        readings.batch,
    )  # fmt: skip
    may = fitted.may_move(readings.local, readings.batch, worded)
    return replace(fitted, shares=np.where(may[:, None], readings.batch, readings.local))


def _earned(looks: Iterable[_Look]) -> tuple[float, ...]:
    """What each space is to weigh, given a look by each alone: the odds that neighbours in it agree
    with what the words say when they are read by it. A space in which things alike lie apart gives
    noisy labels, and shows it. One in which everything has one label agrees with itself, and shows
    nothing."""
    kappas = [
        agreement(look.readings.batch, look.links)
        if len(np.unique(look.readings.batch.argmax(axis=1))) > 1
        else 0.0
        for look in looks
    ]
    odds = [kappa / (_CERTAIN - kappa) for kappa in kappas]
    if (total := sum(odds)) <= 0:
        return (1.0, *(0.0,) * (len(odds) - 1))
    return tuple(one / total for one in odds)
