"""Several teachers on the same images: where they differ, and what people's answers say of them.

Pure functions on arrays of class indices and probabilities.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pipeline.evaluation.metrics import Proportion, agreement, mcnemar_p, proportion
from pipeline.values import counted

_ALPHA, _POWER = 0.05, 0.8
_NAMED = 3  # of the pairs of classes that two teachers confuse, how many are told


@dataclass(frozen=True)
class Confused:
    """How often one teacher sees one class where the other sees another."""

    first: str
    second: str
    images: int


@dataclass(frozen=True)
class Pair:
    """Two teachers beside each other."""

    first: str
    second: str
    agreement: Proportion | None
    confused: tuple[Confused, ...]  # the most frequent differences


@dataclass(frozen=True)
class Duel:
    """Two teachers judged by people's answers, image by image."""

    first: str
    second: str
    only_first_right: int
    only_second_right: int
    p_value: float  # McNemar's exact test, corrected by Holm for the number of duels


@dataclass(frozen=True)
class Verdict:
    """Who is best, if the answers show it."""

    answers: int  # images whose class people have said
    accuracy: tuple[Proportion | None, ...]  # of each teacher, in their order
    duels: tuple[Duel, ...]
    winner: str | None
    sentence: str


def spread(found: int, wanted: int) -> np.ndarray:
    """Return the indices (≤ wanted,) of a sample that is spread evenly over `found` things in their
    order: folders and hours that lie one after the other are in it by their share."""
    if found <= wanted:
        return np.arange(found)
    return ((np.arange(wanted) + 0.5) * found / wanted).astype(np.int64)


def pairs_of(names: Sequence[str], answers: np.ndarray, classes: Sequence[str]) -> list[Pair]:
    """Compare every two teachers.

    Args:
        names: of the teachers.
        answers: class indices (teachers, images).
        classes: their names.
    """
    found = []
    for one, other in itertools.combinations(range(len(names)), 2):
        apart = answers[one] != answers[other]
        kinds, counts = np.unique(answers[[one, other]][:, apart], axis=1, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_NAMED]
        confused = [
            Confused(classes[kinds[0, at]], classes[kinds[1, at]], int(counts[at])) for at in order
        ]
        found.append(
            Pair(names[one], names[other], agreement(answers[one], answers[other]), tuple(confused))
        )
    return found


def most_divided(probabilities: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of the images on which teachers differ, those first where two are surest
    of different classes.

    The order is by the confidence of the less sure of the two, the largest over all pairs.

    Args:
        probabilities: (teachers, images, classes).
        most: how many at most.
    """
    answers, sure = probabilities.argmax(axis=2), probabilities.max(axis=2)
    score = np.zeros(answers.shape[1])
    for one, other in itertools.combinations(range(len(answers)), 2):
        both = np.where(answers[one] != answers[other], np.minimum(sure[one], sure[other]), 0.0)
        score = np.maximum(score, both)
    order = np.argsort(-score, kind="stable")
    return order[score[order] > 0][:most]


def judge(
    names: Sequence[str], answers: np.ndarray, truth: np.ndarray, unfair_to: Sequence[str] = ()
) -> Verdict:
    """Hold teachers against people's answers.

    A winner is named only where it beats every other one: exact McNemar tests on the same images
    (McNemar, 1947), corrected for all pairs by Holm (1979), since the best is picked after looking.

    Args:
        names: of the teachers.
        answers: class indices (teachers, images), of the images that people have answered.
        truth: what people have said, (images,).
        unfair_to: teachers whose doubts or errors have chosen the images. They would look worse
            than they are, so nobody is named who beats one of them; they may win themselves.
    """
    right = answers == truth[None]
    hits, total = right.sum(axis=1), len(truth)
    duels = _duels(names, right)
    order = np.argsort(-hits, kind="stable")
    best = names[int(order[0])]
    own = [duel for duel in duels if best in (duel.first, duel.second)]
    won = (
        len(names) > 1
        and all(duel.p_value < _ALPHA for duel in own)
        and hits[order[0]] > hits[order[1]]
    )
    unfair = won and best not in unfair_to and any(name in unfair_to for name in names)
    accuracy = tuple(proportion(int(count), total) for count in hits)
    if not total:
        sentence = (
            "Nobody has said what any of these images shows, so which teacher is best stays open."
        )
    elif len(names) < 2:
        sentence = f"{best} is alone, so there is nobody to compare it with."
    elif unfair:
        sentence = (
            f"{best} is right on {hits[order[0]]:,} of {counted(total, 'answered image')}, more "
            "than the others, but that does not make it the best: the answers are to images that "
            f"were chosen by the doubts and errors of {' and '.join(unfair_to)}."
        )
    elif won:
        most = max(duel.p_value for duel in own)
        sentence = (
            f"{best} is best: right on {hits[order[0]]:,} of {counted(total, 'answered image')}, "
            f"and better than every other one beyond chance ({_p(most)})."
        )
    else:
        second = names[int(order[1])]
        duel = next(one for one in own if second in (one.first, one.second))
        sentence = _undecided(best, second, hits[order[:2]].tolist(), total, duel, len(duels))
    return Verdict(total, accuracy, tuple(duels), best if won and not unfair else None, sentence)


def _duels(names: Sequence[str], right: np.ndarray) -> list[Duel]:
    pairs = list(itertools.combinations(range(len(names)), 2))
    only = [
        (int((right[a] & ~right[b]).sum()), int((right[b] & ~right[a]).sum())) for a, b in pairs
    ]
    raw = [mcnemar_p(first, second) for first, second in only]
    corrected, least = [1.0] * len(raw), 0.0
    for rank, at in enumerate(sorted(range(len(raw)), key=raw.__getitem__)):
        least = max(least, min(1.0, raw[at] * (len(raw) - rank)))
        corrected[at] = least
    return [
        Duel(names[a], names[b], first, second, p)
        for (a, b), (first, second), p in zip(pairs, only, corrected, strict=True)
    ]


def _undecided(
    best: str, second: str, hits: Sequence[int], total: int, duel: Duel, duels: int
) -> str:
    """Say why the answers show no winner, and how many more would."""
    said = counted(total, "answer")
    verb = "does" if total == 1 else "do"
    apart = duel.only_first_right + duel.only_second_right
    beginning = f"The {said} {verb} not show a winner: "
    if not apart:
        return beginning + f"{best} and {second} are right on the same {hits[0]:,} images."
    mine = duel.only_first_right if duel.first == best else duel.only_second_right
    sentence = beginning + (
        f"{best} is right on {hits[0]:,}, {second} on {hits[1]:,}; of the {apart:,} on which "
        f"exactly one of the two is right, {best} has {mine:,} ({_p(duel.p_value)})."
    )
    if (more := _answers_wanted(mine, apart, total, duels)) is not None and more > total:
        sentence += f" If it goes on like this, about {more:,} answers would show it."
    return sentence


def _answers_wanted(mine: int, apart: int, total: int, duels: int) -> int | None:
    """How many answers would show the difference with a power of 80 %, to two digits, if shares
    stay as they are (Miettinen, 1968); None where there is no difference."""
    share = mine / apart
    if share <= 0.5:
        return None
    normal = NormalDist()
    level, power = normal.inv_cdf(1 - _ALPHA / 2 / duels), normal.inv_cdf(_POWER)
    needed = ((level + 2 * power * math.sqrt(share * (1 - share))) / (2 * share - 1)) ** 2
    images = needed * total / apart
    step: int = 10 ** max(0, int(math.log10(images)) - 1)
    return int(math.ceil(images / step) * step)


def _p(value: float) -> str:
    told = "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
    return f"exact McNemar test, corrected for the number of pairs: {told}"
