"""What doubt finds among the labels, and `unlike` among images that belong to no class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.label_batches import Variation
from benchmarks.label_data import Case
from benchmarks.label_methods import batch_of, labeled, with_votes
from pipeline.labels.doubt import doubt
from pipeline.labels.unlike import unlike

FIRST = 100  # doubts that a person looks at


def doubts_of(case: Case, variation: Variation) -> Iterator[dict[str, object]]:
    """How many of the first hundred doubts are errors, for plain and for refined labels, beside a
    ranking by margin alone."""
    truth = case.truth[variation.rows]
    batch = with_votes(batch_of(case, variation))
    for method, how in (("plain", "none"), ("auto", "auto")):
        found, _, _ = labeled(batch, how)
        wrong = found.argmax(axis=1) != truth
        second, first = np.partition(found, -2, axis=1)[:, -2:].T
        yield {
            "teacher": case.teacher,
            "data": case.data,
            "labels": method,
            "images": len(wrong),
            "errors": int(wrong.sum()),
            "by_doubt": _hits(wrong, doubt(batch, found)),
            "by_margin": _hits(wrong, second - first),
        }


def _hits(wrong: np.ndarray, scores: np.ndarray) -> int:
    return int(wrong[np.argsort(-scores, kind="stable")[:FIRST]].sum())


def rejection_of(case: Case, variation: Variation) -> dict[str, object]:
    """How well `unlike` tells images of none of the classes (truth -1) from the others: the area
    under the curve; beside it the same of the plain and refined probability alone."""
    from scipy.stats import mannwhitneyu

    others = case.truth[variation.rows] < 0
    batch = with_votes(batch_of(case, variation))
    found, _, _ = labeled(batch, "auto")

    def area(scores: np.ndarray) -> float:
        # Mann and Whitney's U counts the pairs that are in order (Hanley and McNeil, 1982).
        pairs = int(others.sum()) * int((~others).sum())
        return float(mannwhitneyu(scores[others], scores[~others]).statistic / pairs)

    return {
        "teacher": case.teacher,
        "data": case.data,
        "images": len(others),
        "others": int(others.sum()),
        "unlike": area(unlike(batch, found)),
        "plain_confidence": area(-batch.plain.max(axis=1)),
        "auto_confidence": area(-found.max(axis=1)),
    }
