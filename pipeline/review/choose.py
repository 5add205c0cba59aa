"""Which images to ask a person about, and what the answers are expected to bring.

An answer is worth the wrong labels that it reaches. How likely a label is wrong is its doubt, or
more where a notice names it; how far an answer reaches is how much of what is not known of another
image it would explain (`pipeline.review.reach`). Images are chosen one after the other, each the
one that adds most to the doubt that is reached. So neither ten images of one doubtful kind are
asked about, nor one of each that are certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.labels.refine.batch import Batch, Refined
from pipeline.labels.refine.neighbours import Eye, Sight
from pipeline.labels.refine.sample import vectors_of
from pipeline.review.reach import Reach

BY_CHANCE = 0.2  # of the images, drawn by chance
A_MINUTE = 20  # answers that a person gives in a minute
_MOST = 1000  # images that are compared each with each
_BASE = 0.05  # doubt of a label that nothing speaks against
_NOTICED = {"far": 0.8, "two": 0.4}  # kind of notice → doubt of the labels that it names, at least
_BELIEF = 3.0  # wrong labels after which the answers count as much as the doubt


@dataclass(frozen=True)
class Choice:
    """Images to ask about, in this order."""

    rows: np.ndarray  # (k,) int, of the batch
    by_chance: np.ndarray  # (k,) bool: drawn among all that nobody has answered, whatever the doubt
    doubts: np.ndarray  # (k,) float: how likely each one's label is taken to be wrong
    gains: np.ndarray  # (k,) float: wrong labels that each answer is expected to reach


@dataclass(frozen=True)
class Tally:
    """What answers so far have shown of the doubt."""

    expected: float = 0.0  # the sum of `Choice.doubts` of the images that were answered
    wrong: int = 0  # how many of these labels the answers contradicted

    @property
    def factor(self) -> float:
        """By how much more often labels are wrong than their doubt says."""
        return (self.wrong + _BELIEF) / (self.expected + _BELIEF)


def choose(
    batch: Batch,
    refined: Refined,
    doubts: np.ndarray,
    count: int,
    *,
    settled: np.ndarray | None = None,
    chance: float = BY_CHANCE,
    seed: int = 0,
) -> Choice:
    """Choose the next images to ask about; fewer than `count` where no more are left.

    A part of them is drawn by chance. How often their labels turn out right is a fair estimate for
    all images that were not answered then; of the others it is none, since they were chosen for
    their doubt. Beyond 1,000 images the choice is made among a sample, half of it doubtful ones.

    Args:
        batch: all images; rows whose class is known are not asked about.
        refined: what `refine` made of them.
        doubts: of their labels (n,), from 0 to 1.
        count: how many, at least 1.
        settled: (n,) bool, images that are not asked about either: no class fits them, or they were
            passed over.
        chance: share of the images that is drawn by chance, from 0 to 1.
        seed: of the draws; with the same answers given, the same images are chosen.

    Raises:
        ValueError: `count` or `chance` is out of range.
        TeacherError: vectors of a space are not numbers.
    """
    if count < 1 or not 0 <= chance <= 1:
        raise ValueError(f"count {count}, chance {chance}")
    n = len(batch.plain)
    done = batch.known >= 0
    if settled is not None:
        done = done | settled
    free = np.flatnonzero(~done)
    wrong = _wrong(refined, doubts, done)
    rng = np.random.default_rng([seed, int(done.sum())])
    if n < 3 or len(free) <= count:
        # Too few to choose among.
        rows = free[np.argsort(-wrong[free], kind="stable")][:count]
        return Choice(rows, np.zeros(len(rows), bool), wrong[rows], wrong[rows])
    drawn = _turns(count, chance, rng)
    lots = rng.choice(free, int(drawn.sum()), replace=False)
    rows, counts = _sample(wrong, done, lots, rng)
    reach = Reach(_seen(batch, refined, rows), np.flatnonzero(done[rows]))
    doubted, open_ = wrong[rows] * counts, ~done[rows]
    left = np.searchsorted(rows, lots).tolist()
    picks, gains = list[tuple[int, bool]](), list[float]()
    open_[left] = False
    for by_chance in drawn.tolist():
        reached = reach.reached(doubted)
        if by_chance:
            at = left.pop(0)
        elif open_.any():
            # Where the label is right after all, the answer puts nothing right, but it teaches.
            score = np.sqrt(wrong[rows]) * reached
            at = int(np.where(open_, score, -1.0).argmax())
        else:
            continue
        open_[at] = False
        doubted[at] = 0
        picks.append((int(rows[at]), by_chance))
        gains.append(float(wrong[rows[at]] * reached[at]))
        reach.learn(at)
    chosen = np.array([row for row, _ in picks])
    return Choice(chosen, np.array([lot for _, lot in picks]), wrong[chosen], np.array(gains))


def expected(gains: Sequence[float] | np.ndarray, tally: Tally) -> float:
    """Return how many labels the next answers are expected to put right.

    Args:
        gains: of the images that would be asked about, `Choice.gains`.
        tally: what the answers so far have shown.
    """
    return float(np.sum(gains)) * tally.factor


def enough(gain: float, images: int, until: float) -> bool:
    """Say whether asking may end: a minute is expected to put fewer labels right than that.

    Args:
        gain: labels that the answers of a minute are expected to put right.
        images: how many there are.
        until: share of them, from 0 to 1, below which a minute is not worth it.
    """
    return gain < until * images


def _wrong(refined: Refined, doubts: np.ndarray, done: np.ndarray) -> np.ndarray:
    """How likely each label is wrong, (n,) float64: its doubt, and what the notices say."""
    wrong = _BASE + (1 - _BASE) * doubts.astype(np.float64)
    for notice in refined.notices:
        least = _NOTICED.get(notice.kind, 0.0)
        wrong[notice.rows] = np.maximum(wrong[notice.rows], least)
    wrong[done] = 0
    return wrong


def _turns(count: int, chance: float, rng: np.random.Generator) -> np.ndarray:
    """Which of the next images are drawn by chance, (count,) bool: as many as their share says,
    the rest of a whole one by lot, each at any place."""
    many = int(count * chance + rng.random())
    turns = np.zeros(count, bool)
    turns[rng.permutation(count)[:many]] = True
    return turns


def _sample(
    wrong: np.ndarray, done: np.ndarray, lots: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (s,), sorted, and how many images each stands for (s,): all of a small batch; of
    a large one half by doubt and half by chance, with those that are answered or drawn."""
    n = len(wrong)
    if n <= _MOST:
        return np.arange(n), np.ones(n)
    likely = (wrong / wrong.sum() + 1 / n) / 2
    if (~done).sum() <= _MOST // 2:
        taken, likely = np.flatnonzero(~done), np.full(n, 1 / (~done).sum())
    else:
        taken = rng.choice(n, _MOST // 2, replace=False, p=likely)
    # Those answers only count that are in the sample.
    heard = rng.permutation(np.flatnonzero(done))[: _MOST // 2]
    rows = np.union1d(np.union1d(taken, heard), lots)
    counts = np.where(np.isin(rows, taken), 1 / (len(taken) * likely[rows]), 0.0)
    return rows, counts


def _seen(batch: Batch, refined: Refined, rows: np.ndarray) -> np.ndarray:
    """The images (s, dims) as refinement saw them."""
    votes = batch.votes[rows] / batch.votes[rows].mean()
    vectors = [vectors_of(space, rows) for space in batch.spaces]
    sights = tuple(Sight.of(part, votes) for part in vectors)
    weights = tuple(
        refined.weights.get(space.name, 0.0) * (sight.spread > 0)
        for space, sight in zip(batch.spaces, sights, strict=True)
    )
    if sum(weights) <= 0:
        weights = (1.0, *(0.0,) * (len(sights) - 1))
    return Eye(sights, weights).see(vectors)
