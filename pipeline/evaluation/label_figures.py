"""How right the labels are, where people have labeled some of the images, and what moved."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from pipeline.evaluation.label_record import (
    Doubted,
    LabelFigures,
    Move,
    MovePair,
    ThresholdFigures,
)
from pipeline.evaluation.metrics import Proportion, calibration_error, proportion, reliability
from pipeline.labels.counts import LabelCounts

_THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_PAIRS = 12  # pairs of classes that are told
_DOUBTS = 12  # labels that are shown for their doubt


def label_figures(
    labels: pl.DataFrame,
    truth: Mapping[str, str],
    counts: LabelCounts | None = None,
    shown: int = 24,
) -> LabelFigures:
    """Return how many labels there are and, where a person's labels exist, how right they are.

    Args:
        labels: labels.parquet.
        truth: id → class, for any of the images.
        counts: what labeling has told of itself.
        shown: images that are shown of what moved, at most.
    """
    decisions = dict(labels.group_by("decision").len().iter_rows())
    judged = labels.with_columns(
        pl.col("id").replace_strict(truth, default=None, return_dtype=pl.String).alias("truth")
    )
    known = judged.filter(pl.col("truth").is_not_null())
    accepted = known.filter(pl.col("decision") == "accepted")
    right = (accepted["class"] == accepted["truth"]).to_numpy()
    machine = judged.filter(pl.col("decision") != "human")
    asked = machine.filter(pl.col("truth").is_not_null())
    moved = machine.filter(pl.col("moved"))
    moved_known = moved.filter(pl.col("truth").is_not_null())
    sure = accepted["confidence"].to_numpy()
    return LabelFigures(
        images=len(labels),
        accepted=decisions.get("accepted", 0),
        abstained=decisions.get("abstained", 0),
        human=decisions.get("human", 0),
        accuracy=_share(accepted, "class"),
        thresholds=_thresholds(known),
        refined=counts is not None and counts.refined,
        why="" if counts is None else counts.why,
        weights={} if counts is None else counts.weights,
        refined_accuracy=_share(asked, "guess"),
        plain_accuracy=_share(asked, "plain"),
        moved=len(moved),
        moved_known=len(moved_known),
        moved_right=_right(moved_known, "guess"),
        moved_were_right=_right(moved_known, "plain"),
        rejected=0 if counts is None else counts.rejected,
        labeled_before=0 if counts is None else counts.labeled_before,
        changed=0 if counts is None else counts.changed,
        calibration_error=calibration_error(sure, right),
        reliability=reliability(sure, right) if len(accepted) else [],
        pairs=_pairs(moved),
        moves=_moves(moved, shown),
        doubts=_doubts(machine, min(shown, _DOUBTS)),
        notices=[] if counts is None else counts.notices,
    )


def _share(rows: pl.DataFrame, column: str) -> Proportion | None:
    return proportion(_right(rows, column), len(rows))


def _right(rows: pl.DataFrame, column: str) -> int:
    return int((rows[column] == rows["truth"]).sum())


def _thresholds(known: pl.DataFrame) -> list[ThresholdFigures]:
    steps = []
    for threshold in _THRESHOLDS if len(known) else ():
        # As labeling compares, so that the table keeps what `min_confidence` would.
        kept = known.filter(pl.col("confidence").cast(pl.Float64) >= threshold)
        steps.append(ThresholdFigures(threshold, len(kept) / len(known), _share(kept, "guess")))
    return steps


def _pairs(moved: pl.DataFrame) -> list[MovePair]:
    has_truth = pl.col("truth").is_not_null()
    pairs = moved.group_by("plain", "guess").agg(
        images=pl.len(),
        known=has_truth.sum(),
        right=(has_truth & (pl.col("guess") == pl.col("truth"))).sum(),
        were_right=(has_truth & (pl.col("plain") == pl.col("truth"))).sum(),
    )
    pairs = pairs.sort("images", "plain", "guess", descending=[True, False, False])
    return [MovePair(**row) for row in pairs.head(_PAIRS).iter_rows(named=True)]


def _moves(moved: pl.DataFrame, shown: int) -> list[Move]:
    """Some moves of every pair in turn, of the commonest pair first; of a pair the surest first."""
    pair = ["plain", "guess"]
    rows = (
        moved.sort("confidence", "id", descending=[True, False])
        .with_columns(turn=pl.int_range(pl.len()).over(pair), size=pl.len().over(pair))
        .sort("turn", "size", *pair, descending=[False, True, False, False])
        .head(shown)
        .select("id", "path", *pair, "confidence", "truth")
    )
    return [Move(**row) for row in rows.iter_rows(named=True)]


def _doubts(labels: pl.DataFrame, shown: int) -> list[Doubted]:
    rows = labels.sort("doubt", "id", descending=[True, False], nulls_last=True).head(shown)
    names = ["id", "path", "guess", "plain", "confidence", "doubt", "decision", "truth"]
    return [Doubted(**row) for row in rows.select(names).iter_rows(named=True)]
