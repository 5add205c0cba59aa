"""Whether new images look like the earlier ones, to the teacher."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

_ENOUGH = 20  # images on either side; fewer show nothing
_SAMPLE = 2000  # of either side, for the vectors
_SHUFFLES = 199
_SURE = 0.01  # p-value; three looks at the same images, so none may be taken lightly
_FAR = 0.15  # between the distributions of confidence, and of the guesses elsewhere
_APART = 0.5  # between the means of the vectors, of their own spread


@dataclass(frozen=True)
class ConfidenceShift:
    """How sure the teacher is: medians, and the distance of the distributions (0 to 1)."""

    new: float
    earlier: float
    distance: float
    p_value: float
    changed: bool


@dataclass(frozen=True)
class ClassShare:
    """A class's share of the guesses."""

    class_name: str
    new: float
    earlier: float


@dataclass(frozen=True)
class MixShift:
    """The mix of guesses; `distance` is the share that would have to move (0 to 1)."""

    distance: float
    p_value: float
    most: ClassShare  # that has changed most
    changed: bool


@dataclass(frozen=True)
class VectorShift:
    """The means of the vectors; `distance` in units of the earlier vectors' own spread."""

    distance: float
    p_value: float
    changed: bool


@dataclass(frozen=True)
class Drift:
    """New images beside earlier ones, of which there are so many."""

    new: int
    earlier: int
    confidence: ConfidenceShift
    classes: MixShift
    vectors: VectorShift | None  # None where the teacher gives none
    sentence: str = ""  # what to tell a person

    @property
    def changed(self) -> bool:
        """Whether any of the three looks shows a change."""
        looks = (self.confidence, self.classes, self.vectors)
        return any(look is not None and look.changed for look in looks)


def drift(
    new: pl.DataFrame,
    earlier: pl.DataFrame,
    vectors: tuple[np.ndarray, np.ndarray] | None = None,
) -> Drift | None:
    """Compare labels of new images with those of earlier ones; None where either are too few.

    Confidence is compared by a Kolmogorov-Smirnov test, the mix of guesses by a chi-squared test,
    vectors by the distance of their means against that of shuffled halves. With many images the
    slightest change is certain, so a change counts only if it is large, too: a distance of 0.15
    between the distributions of confidence, 0.15 of the guesses elsewhere, or means further apart
    than half the vectors' own spread.

    Args:
        new: guess and confidence of the images that are new.
        earlier: of the others.
        vectors: unit vectors (n, dim) of both, where the teacher gives any.
    """
    if min(len(new), len(earlier)) < _ENOUGH:
        return None
    from scipy import stats  # slow to import, and most runs have nothing new

    test = stats.ks_2samp(new["confidence"].to_numpy(), earlier["confidence"].to_numpy())
    found = Drift(
        new=len(new),
        earlier=len(earlier),
        confidence=ConfidenceShift(
            new=_median(new),
            earlier=_median(earlier),
            distance=float(test.statistic),
            p_value=float(test.pvalue),
            changed=bool(test.statistic > _FAR and test.pvalue < _SURE),
        ),
        classes=_mix(new, earlier),
        vectors=None if vectors is None else _apart(*vectors),
    )
    return replace(found, sentence=_sentence(found))


def _sentence(found: Drift) -> str:
    parts = []
    confidence, classes, vectors = found.confidence, found.classes, found.vectors
    if confidence.changed:
        parts.append(
            f"the teacher's median confidence is {confidence.new:.2f} instead of "
            f"{confidence.earlier:.2f}"
        )
    if classes.changed:
        most = classes.most
        parts.append(
            f"{most.class_name!r} makes up {most.new:.0%} of them instead of {most.earlier:.0%}"
        )
    if vectors is not None and vectors.changed:
        parts.append(
            f"their vectors lie {vectors.distance:.1f} times the earlier ones' spread away"
        )
    if not parts:
        return f"The {found.new:,} new images look like the {found.earlier:,} earlier ones."
    return (
        f"The {found.new:,} new images do not look like the {found.earlier:,} earlier ones: "
        f"{'; '.join(parts)}. Look at some of them before you trust their labels."
    )


def _median(labels: pl.DataFrame) -> float:
    return float(np.median(labels["confidence"].to_numpy()))


def _mix(new: pl.DataFrame, earlier: pl.DataFrame) -> MixShift:
    from scipy import stats

    names = sorted(set(new["guess"]) | set(earlier["guess"]))
    counts = [dict(side.group_by("guess").len().iter_rows()) for side in (new, earlier)]
    table = np.array([[count.get(name, 0) for name in names] for count in counts])
    shares = table / table.sum(axis=1, keepdims=True)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    p_value = float(stats.chi2_contingency(table).pvalue) if len(names) > 1 else 1.0
    most = int(np.argmax(np.abs(shares[0] - shares[1])))
    return MixShift(
        distance=distance,
        p_value=p_value,
        most=ClassShare(names[most], float(shares[0, most]), float(shares[1, most])),
        changed=bool(distance > _FAR and p_value < _SURE),
    )


def _apart(new: np.ndarray, earlier: np.ndarray) -> VectorShift:
    rng = np.random.default_rng(0)
    sides = [
        side[rng.choice(len(side), min(len(side), _SAMPLE), replace=False)].astype(np.float32)
        for side in (new, earlier)
    ]
    both, split = np.concatenate(sides), len(sides[0])

    def distance(order: np.ndarray) -> float:
        first, second = both[order[:split]].mean(axis=0), both[order[split:]].mean(axis=0)
        return float(np.linalg.norm(first - second))

    seen = distance(np.arange(len(both)))
    shuffled = [distance(rng.permutation(len(both))) for _ in range(_SHUFFLES)]
    spread = float(np.sqrt(sides[1].var(axis=0).sum()))
    relative = seen / max(spread, 1e-9)
    p_value = (1 + sum(other >= seen for other in shuffled)) / (_SHUFFLES + 1)
    return VectorShift(relative, p_value, bool(relative > _APART and p_value < _SURE))
