"""Where a student is worse than elsewhere: held-out images that have something in common.

Each slice is compared with all other images by Fisher's exact test, one-sided. Looking at many
slices finds some that are bad by chance, so the p-values are corrected as Holm (1979) does: the
chance that any sentence at all is wrong stays below 5 %, whatever the slices have in common. They
do have much in common (the darkest tenth lies within the darkest quarter), and each sentence sends
somebody out to take pictures. Benjamini and Yekutieli's limit on the share of wrong ones (2001),
which holds for such tests, too, finds less among so few: docs/evaluation.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.analysis_record import Slice
from pipeline.evaluation.metrics import Proportion, proportion
from pipeline.evaluation.traits import Traits
from pipeline.storage.address import Place

KINDS = ("brightness", "blur", "size", "shape", "source")

_LEAST = 10  # images of a slice, and of the others: fewer prove nothing
_LEVEL = 0.05
_ENDS = (0.1, 0.25)  # shares of the images that are an end of a scale
_SOURCES = 40  # of the largest folders and films
_SHOWN = 6  # mistakes
# Width by height: tall, square, wide and very wide pictures begin at these.
_SHAPES = ((0.0, "tall"), (0.8, "about square"), (1.25, "wide"), (2.0, "very wide"))


@dataclass(frozen=True)
class Judged:
    """What a student made of the held-out images."""

    paths: Sequence[Place]
    right: np.ndarray  # (n,) bool: as a person said, or without truth as the teacher did
    wanted: np.ndarray  # (n,) int: the class index that would have been right
    confidence: np.ndarray  # (n,) of the answers
    has_truth: bool


def find_slices(judged: Judged, traits: Traits, places: Sequence[tuple[str, ...]]) -> list[Slice]:
    """Compare the student on each slice with all other images; the worst slice first.

    Args:
        judged: n images.
        traits: of the same images.
        places: where each comes from, see `traits.places_of`.
    """
    candidates = _without_doubles(_candidates(traits, places))
    tests = [_worse(judged.right, members) for _, _, members in candidates]
    corrected = holm(tests)
    found = [
        _slice(judged, by, name, members, p, adjusted)
        for (by, name, members), p, adjusted in zip(candidates, tests, corrected, strict=True)
    ]
    return sorted(found, key=lambda one: (one.p, KINDS.index(one.by), one.name))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number as Holm's step-down procedure does (1979)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _candidates(
    traits: Traits, places: Sequence[tuple[str, ...]]
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield what a slice is by, its name, and which images are in it, (n,) bool."""
    scales = (
        ("brightness", traits.brightness, 0, ("dark", "bright"), "brightness {} {:g} of 255"),
        ("blur", traits.sharpness, 3, ("blurred", "sharp or noisy"), "sharpness {} {:g}"),
        ("size", traits.short_side, 0, ("small", "large"), "short side {} {:g} pixels"),
    )
    for by, exact, digits, (lower, higher), words in scales:
        values = np.round(exact, digits)  # so that the name says exactly who is in
        if not np.isfinite(values).any():
            continue
        for share in _ENDS:
            least = float(np.nanquantile(values, share, method="lower"))
            most = float(np.nanquantile(values, 1 - share, method="higher"))
            yield by, f"{lower}: {words.format('up to', least)}", values <= least
            yield by, f"{higher}: {words.format('from', most)}", values >= most
    for number, (begins, name) in enumerate(_SHAPES):
        ends = _SHAPES[number + 1][0] if number + 1 < len(_SHAPES) else np.inf
        yield "shape", name, (traits.aspect >= begins) & (traits.aspect < ends)
    yield from _sources(places)


def _sources(places: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, str, np.ndarray]]:
    """The folders and films with most images; a folder has also what lies below it."""
    members: dict[tuple[str, ...], list[int]] = {}
    for row, place in enumerate(places):
        for depth in range(1, len(place) + 1):
            members.setdefault(place[:depth], []).append(row)
    largest = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))[:_SOURCES]
    for place, rows in largest:
        inside = np.zeros(len(places), bool)
        inside[rows] = True
        yield "source", "/".join(place), inside


def _without_doubles(
    candidates: Iterator[tuple[str, str, np.ndarray]],
) -> list[tuple[str, str, np.ndarray]]:
    """Leave out what is too small to say anything, or nearly all there is, and what has the same
    images as another: each slice that is looked at costs the others."""
    kept, seen = [], set()
    for by, name, members in candidates:
        count, key = int(members.sum()), members.tobytes()
        if _LEAST <= count <= len(members) - _LEAST and key not in seen:
            seen.add(key)
            kept.append((by, name, members))
    return kept


def _worse(right: np.ndarray, members: np.ndarray) -> float:
    """Return the p-value of Fisher's exact test (1934), one-sided: as few right answers in a slice,
    or fewer, if those that are right were dealt out by chance."""
    from scipy.stats import hypergeom

    inside = int(right[members].sum())
    found = hypergeom.cdf(inside, len(right), int(right.sum()), int(members.sum()))
    return min(1.0, float(found))


def _worse_within(right: np.ndarray, members: np.ndarray, wanted: np.ndarray) -> float:
    """Return the same with the answers dealt out within each class: the exact test of a common odds
    ratio in several tables (Mehta, Patel and Gray, 1985). Were the student merely worse at the
    classes that a slice has many of, this would not be small."""
    from scipy.stats import hypergeom

    spread = np.ones(1)
    for index in np.unique(wanted):
        of_class = wanted == index
        drawn, total = int((of_class & members).sum()), int(of_class.sum())
        counts = np.arange(drawn + 1)
        share = hypergeom.pmf(counts, total, int(right[of_class].sum()), drawn)
        spread = np.convolve(spread, share)
    inside = int(right[members].sum())
    return min(1.0, float(spread[: inside + 1].sum()))


def _slice(
    judged: Judged, by: str, name: str, members: np.ndarray, p: float, corrected: float
) -> Slice:
    figure, rest = _share(judged.right[members]), _share(judged.right[~members])
    significant = corrected < _LEVEL
    within, examples = None, []
    if significant:
        within = _worse_within(judged.right, members, judged.wanted)
        wrong = np.flatnonzero(members & ~judged.right)
        surest = wrong[np.argsort(-judged.confidence[wrong], kind="stable")][:_SHOWN]
        examples = [str(judged.paths[row]) for row in surest.tolist()]
    return Slice(
        by=by,
        name=name,
        n=int(members.sum()),
        accuracy=figure if judged.has_truth else None,
        agreement=None if judged.has_truth else figure,
        rest=rest,
        p=p,
        p_corrected=corrected,
        significant=significant,
        within_classes=within,
        examples=examples,
    )


def _share(right: np.ndarray) -> Proportion:
    found = proportion(int(right.sum()), len(right))
    assert found is not None  # neither a slice nor the rest is empty
    return found
