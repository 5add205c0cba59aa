"""From vectors to labels: probabilities, decisions and their reasons. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from pipeline.ontology import Ontology
from pipeline.records import LABELS


def label_table(
    ids: Sequence[str],
    paths: Sequence[str],
    probabilities: np.ndarray,
    ontology: Ontology,
    *,
    min_confidence: float,
    min_margin: float,
    human: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Decide every image: accept the guess, abstain and say why, or follow a person.

    Args:
        ids: image ids, n of them; `paths` beside them.
        probabilities: (n, classes), columns in the ontology's class order.
        min_confidence: a guess below this probability is not accepted.
        min_margin: nor is one that leads its runner-up by less than this.
        human: id → class, decided by a person; overrides the teacher.

    Returns:
        A table with the schema `records.LABELS`, one row an image, in the order given.
    """
    human = human or {}
    names = pl.Series(ontology.classes, dtype=pl.String)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    rows = np.arange(len(ids))
    confidence = probabilities[rows, order[:, 0]].astype(np.float32)
    margin = confidence - probabilities[rows, order[:, 1]].astype(np.float32)
    shares = pl.Series("probabilities", probabilities.astype(np.float32), dtype=None)
    table = pl.DataFrame(
        {
            "id": pl.Series(ids, dtype=pl.String),
            "path": pl.Series(paths, dtype=pl.String),
            "guess": names.gather(order[:, 0]),
            "rival": names.gather(order[:, 1]),
            "confidence": confidence,
            "margin": margin,
            "probabilities": shares,
            "sure": pl.Series(np.char.mod("%.3f", confidence), dtype=pl.String),
            "ahead": pl.Series(np.char.mod("%.3f", margin), dtype=pl.String),
        }
    ).with_columns(human=pl.col("id").replace_strict(human, default=None, return_dtype=pl.String))
    decided = pl.col("human").is_not_null()
    # As numpy compares: a threshold such as 0.9 is not rounded to the probabilities' precision.
    unsure = pl.col("confidence").cast(pl.Float64) < min_confidence
    close = pl.col("margin").cast(pl.Float64) < min_margin
    return table.with_columns(
        pl.when(decided)
        .then("human")
        .when(unsure | close)
        .then(None)
        .otherwise("guess")
        .alias("class"),
        pl.when(decided)
        .then(pl.lit("human"))
        .when(unsure | close)
        .then(pl.lit("abstained"))
        .otherwise(pl.lit("accepted"))
        .alias("decision"),
        pl.when(decided)
        .then(pl.lit("Decided by a person."))
        .when(unsure)
        .then(pl.format(f"Confidence {{}} is below {min_confidence:g}.", "sure"))
        .when(close)
        .then(pl.format(f"It leads '{{}}' by {{}}, less than {min_margin:g}.", "rival", "ahead"))
        .otherwise(pl.format("Confidence {}, {} ahead of {}.", "sure", "ahead", "rival"))
        .alias("reason"),
    ).select(pl.col(name).cast(kind) for name, kind in LABELS.items())
