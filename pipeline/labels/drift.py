"""Whether new images look like the earlier ones, to the teacher."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy import stats

_ENOUGH = 20  # images on either side; fewer show nothing
_SAMPLE = 2000  # of either side, for the vectors
_SHUFFLES = 199
_SURE = 0.01  # p-value; three looks at the same images, so none may be taken lightly


def drift(
    new: pl.DataFrame,
    earlier: pl.DataFrame,
    vectors: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any] | None:
    """Compare labels of new images with those of earlier ones; None where either are too few.

    Confidence is compared by a Kolmogorov-Smirnov test, the mix of guesses by a chi-squared test,
    vectors by the distance of their means against that of shuffled halves. With many images the
    slightest change is certain, so a change counts only if it is large, too: a distance of 0.15
    between the distributions of confidence, 0.15 of the guesses elsewhere, or means further apart
    than half the vectors' own spread.

    Args:
        new: labels.parquet's columns guess and confidence, of the images that are new.
        earlier: of the others.
        vectors: unit vectors (n, dim) of both, where the teacher gives any.
    """
    if min(len(new), len(earlier)) < _ENOUGH:
        return None
    test = stats.ks_2samp(new["confidence"].to_numpy(), earlier["confidence"].to_numpy())
    found: dict[str, Any] = {
        "new": len(new),
        "earlier": len(earlier),
        "confidence": {
            "new": _median(new),
            "earlier": _median(earlier),
            "distance": float(test.statistic),
            "p_value": float(test.pvalue),
            "changed": bool(test.statistic > 0.15 and test.pvalue < _SURE),
        },
        "classes": _mix(new, earlier),
        "vectors": None if vectors is None else _apart(*vectors),
    }
    found["sentence"] = _sentence(found)
    return found


def _median(labels: pl.DataFrame) -> float:
    return float(np.median(labels["confidence"].to_numpy()))


def _mix(new: pl.DataFrame, earlier: pl.DataFrame) -> dict[str, Any]:
    names = sorted(set(new["guess"]) | set(earlier["guess"]))
    counts = [dict(side.group_by("guess").len().iter_rows()) for side in (new, earlier)]
    table = np.array([[count.get(name, 0) for name in names] for count in counts])
    shares = table / table.sum(axis=1, keepdims=True)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    p_value = float(stats.chi2_contingency(table).pvalue) if len(names) > 1 else 1.0
    most = int(np.argmax(np.abs(shares[0] - shares[1])))
    return {
        "distance": distance,  # total variation: the share that would have to move
        "p_value": p_value,
        "most": {
            "class": names[most],
            "new": float(shares[0, most]),
            "earlier": float(shares[1, most]),
        },
        "changed": bool(distance > 0.15 and p_value < _SURE),
    }


def _apart(new: np.ndarray, earlier: np.ndarray) -> dict[str, Any]:
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
    p_value = (1 + sum(one >= seen for one in shuffled)) / (_SHUFFLES + 1)
    return {
        "distance": relative,
        "p_value": p_value,
        "changed": bool(relative > 0.5 and p_value < _SURE),
    }


def _sentence(found: dict[str, Any]) -> str:
    parts = []
    confidence, classes, vectors = found["confidence"], found["classes"], found["vectors"]
    if confidence["changed"]:
        parts.append(
            f"the teacher's median confidence is {confidence['new']:.2f} instead of "
            f"{confidence['earlier']:.2f}"
        )
    if classes["changed"]:
        most = classes["most"]
        parts.append(
            f"{most['class']!r} makes up {most['new']:.0%} of them instead of {most['earlier']:.0%}"
        )
    if vectors and vectors["changed"]:
        parts.append(
            f"their vectors lie {vectors['distance']:.1f} times the earlier ones' spread away"
        )
    if not parts:
        return f"The {found['new']:,} new images look like the {found['earlier']:,} earlier ones."
    return (
        f"The {found['new']:,} new images do not look like the {found['earlier']:,} earlier ones: "
        f"{'; '.join(parts)}. Look at some of them before you trust their labels."
    )
