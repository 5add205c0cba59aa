"""Groups of images that the words do not fit, named for a person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.labels.refine.batch import Batch, Notice
from pipeline.labels.refine.readings import Readings

_FEWEST = 8  # images that are worth a person's minute
_SHARE = 0.005  # of the images, in large batches
_FAR = 0.4  # of what its prompt answers to the rest of a class: less is far from it
_APART = 2.0  # distance of two groups' means, in spreads along the line between them
_GROUPS = 8  # kinds of thing that are looked for under a class, at most
_A_GROUP = 12  # images of a kind, on average, at least
_ROUNDS = 20


@dataclass(frozen=True)
class _Kind:
    """Images alike that have one label."""

    rows: np.ndarray  # of the sample, the most typical first
    label: int
    centre: np.ndarray  # (dims,)
    answers: np.ndarray  # (classes,), the mean of the smoothed answers


def notices(
    batch: Batch, rows: np.ndarray, seen: np.ndarray, readings: Readings, shares: np.ndarray
) -> tuple[Notice, ...]:
    """Return what a person should look at, the largest group first.

    The images of each class are parted into kinds that lie apart to the eye. A kind to which the
    class's prompt answers much less than to another of its kinds is far from it: its word is
    missing, or lies elsewhere. So may a kind be called wrongly to which another class's prompt
    answers more than to any other images.

    Args:
        batch: the images.
        rows: those of the sample (s,).
        seen: the sample, as it is compared (s, dims).
        readings: of the sample.
        shares: its probabilities (s, classes).
    """
    smallest = max(_FEWEST, round(_SHARE * len(rows)))
    labels = shares.argmax(axis=1)
    kinds = [
        kind
        for number in np.unique(labels).tolist()
        for kind in _kinds(np.flatnonzero(labels == number), number, seen, readings.smoothed)
        if len(kind.rows) >= smallest
    ]
    if not kinds:
        return ()
    grounds = np.median(readings.smoothed, axis=0)
    heights = np.stack([kind.answers for kind in kinds]) - grounds  # (kinds, classes)
    # Where each prompt is at its best: a prompt that answers most to images called otherwise is
    # the likeliest name for them.
    best_at = heights.argmax(axis=0)
    found = []
    for at, kind in enumerate(kinds):
        alike = [other for other, one in enumerate(kinds) if one.label == kind.label]
        best = max(alike, key=lambda other: heights[other, kind.label])
        if best == at or heights[best, kind.label] <= 0 or not _apart(kind, kinds[best], seen):
            continue
        fit = heights[at, kind.label] / heights[best, kind.label]
        claims = [one for one in np.flatnonzero(best_at == at).tolist() if one != kind.label]
        if fit < _FAR:
            found.append(_far(batch, rows, kind, claims))
        elif claims:
            found.append(_two(batch, rows, kind, kinds[best], claims))
    return tuple(sorted(found, key=lambda notice: (notice.kind == "two", -len(notice.rows))))


def _kinds(members: np.ndarray, label: int, seen: np.ndarray, answers: np.ndarray) -> list[_Kind]:
    """Part images (m,) of one label into kinds: spherical k-means, and kinds that do not lie apart
    joined again."""
    count = int(np.clip(len(members) // _A_GROUP, 1, _GROUPS))
    points = seen[members]
    centres = _spread_out(points, count)
    for _ in range(_ROUNDS):
        nearest = (points @ centres.T).argmax(axis=1)
        groups = [np.flatnonzero(nearest == one) for one in range(len(centres))]
        centres = np.stack([_unit(points[group].mean(axis=0)) for group in groups if len(group)])
    groups = [group for group in groups if len(group)]
    kinds = [_kind(members[group], label, seen, answers) for group in groups]
    while len(kinds) > 1:
        pairs = [(a, b) for b in range(len(kinds)) for a in range(b)]
        gaps = [_gap(kinds[a], kinds[b], seen) for a, b in pairs]
        closest = int(np.argmin(gaps))
        if gaps[closest] >= _APART:
            break
        a, b = pairs[closest]
        joined = np.concatenate([kinds[a].rows, kinds[b].rows])
        kinds = [kind for number, kind in enumerate(kinds) if number not in (a, b)]
        kinds.append(_kind(joined, label, seen, answers))
    return kinds


def _kind(rows: np.ndarray, label: int, seen: np.ndarray, answers: np.ndarray) -> _Kind:
    centre = seen[rows].mean(axis=0)
    order = np.argsort(-(seen[rows] @ centre), kind="stable")
    return _Kind(rows[order], label, centre, answers[rows].mean(axis=0))


def _gap(one: _Kind, other: _Kind, seen: np.ndarray) -> float:
    """How far two kinds lie apart along the line between their means, in their spreads there. A
    cloud that was cut in two has a gap of some 1.7 of them."""
    line = other.centre - one.centre
    length = float(np.linalg.norm(line))
    if length < 1e-6:
        return 0.0
    along = [seen[kind.rows] @ (line / length) for kind in (one, other)]
    spread = float(np.sqrt(np.mean([side.var() for side in along])))
    return length / max(spread, 1e-6) / 2


def _apart(one: _Kind, other: _Kind, seen: np.ndarray) -> bool:
    return _gap(one, other, seen) >= _APART


def _far(batch: Batch, rows: np.ndarray, kind: _Kind, claims: list[int]) -> Notice:
    name = batch.classes[kind.label]
    hint = f" ({_claimed(batch, claims)})" if claims else ""
    sentence = (
        f"{_count(batch, rows, kind).capitalize()} images alike are called {name!r}, but lie far "
        f"from it{hint}. "
        "If they are something else, give that a prompt of its own; if they belong to a class, one "
        "example of them or one answer puts them all right."
    )
    return Notice("far", name, rows[kind.rows], sentence)


def _two(batch: Batch, rows: np.ndarray, kind: _Kind, other: _Kind, claims: list[int]) -> Notice:
    name = batch.classes[kind.label]
    sentence = (
        f"Two kinds of thing are called {name!r}: {_count(batch, rows, kind)} images alike look "
        f"unlike {_count(batch, rows, other)} others, and {_claimed(batch, claims)}. One example "
        "of them or one answer puts them all right."
    )
    return Notice("two", name, rows[kind.rows], sentence)


def _claimed(batch: Batch, claims: list[int]) -> str:
    names = " and ".join(repr(batch.classes[one]) for one in claims[:2])
    return f"there is nothing to which {names} answer{'s' if len(claims) == 1 else ''} more"


def _count(batch: Batch, rows: np.ndarray, kind: _Kind) -> str:
    """How many images a kind has in the batch: counted, or reckoned from the sample."""
    return batch.in_words(len(kind.rows), len(rows))


def _spread_out(points: np.ndarray, count: int) -> np.ndarray:
    """Return `count` of the points, each as unlike those before it as can be."""
    first = int(np.argmax(points @ points.mean(axis=0)))
    chosen = [first]
    alike = points @ points[first]
    while len(chosen) < count:
        chosen.append(int(np.argmin(alike)))
        alike = np.maximum(alike, points @ points[chosen[-1]])
    return points[chosen]


def _unit(vector: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vector / max(float(np.linalg.norm(vector)), 1e-6)
    return unit
