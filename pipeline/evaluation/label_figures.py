"""How right the labels are, where people have labeled some of the images."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from pipeline.evaluation.metrics import proportion
from pipeline.evaluation.record import LabelFigures, ThresholdFigures

_THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def label_figures(labels: pl.DataFrame, truth: Mapping[str, str]) -> LabelFigures:
    """Return how many labels there are and, where a person's labels exist, how right they are.

    Args:
        labels: labels.parquet.
        truth: id → class, for any of the images.
    """
    decisions = dict(labels.group_by("decision").len().iter_rows())
    known = labels.with_columns(
        pl.col("id").replace_strict(truth, default=None, return_dtype=pl.String).alias("truth")
    ).filter(pl.col("truth").is_not_null())
    accepted = known.filter(pl.col("decision") == "accepted")
    thresholds = []
    for threshold in _THRESHOLDS if len(known) else ():
        # As labeling compares, so that the table keeps what `min_confidence` would.
        kept = known.filter(pl.col("confidence").cast(pl.Float64) >= threshold)
        right = proportion(int((kept["guess"] == kept["truth"]).sum()), len(kept))
        thresholds.append(ThresholdFigures(threshold, len(kept) / len(known), right))
    return LabelFigures(
        images=len(labels),
        accepted=decisions.get("accepted", 0),
        abstained=decisions.get("abstained", 0),
        human=decisions.get("human", 0),
        accuracy=proportion(int((accepted["class"] == accepted["truth"]).sum()), len(accepted)),
        thresholds=thresholds,
    )
