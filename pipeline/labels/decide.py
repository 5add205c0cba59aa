"""From vectors to labels: probabilities, decisions and their reasons. Pure numpy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import polars as pl

from pipeline.labels.verdicts import Verdicts
from pipeline.records import LABELS


def label_table(
    ids: Sequence[str],
    paths: Sequence[str],
    verdicts: Verdicts,
    because: Mapping[str, str] | None = None,
    nothing: Collection[str] = (),
) -> pl.DataFrame:
    """Decide every image: accept the guess, abstain and say why, or follow a person.

    Args:
        ids: image ids, n of them; `paths` beside them.
        verdicts: n rows; what a person gave overrides the teacher.
        because: id → the reason of a person's class, where it was not decided by hand.
        nothing: ids of images that a person said to be of no class.

    Returns:
        A table with the schema `records.LABELS`, one row an image, in the order given.
    """
    from pipeline.labels.unlike import reject_reason  # it brings scipy, which takes a while

    names = pl.Series(verdicts.classes, dtype=pl.String)
    shares, rows = verdicts.probabilities, np.arange(len(ids))
    order = np.argsort(-shares, axis=1, kind="stable")
    confidence = shares[rows, order[:, 0]].astype(np.float32)
    margin = confidence - shares[rows, order[:, 1]].astype(np.float32)
    plain = verdicts.plain.argmax(axis=1)
    table = pl.DataFrame(
        {
            "id": pl.Series(ids, dtype=pl.String),
            "path": pl.Series(paths, dtype=pl.String),
            "guess": names.gather(order[:, 0]),
            "rival": names.gather(order[:, 1]),
            "confidence": confidence,
            "margin": margin,
            "probabilities": pl.Series(shares.astype(np.float32), dtype=None),
            "plain": names.gather(plain),
            "plain_confidence": verdicts.plain[rows, plain].astype(np.float32),
            "doubt": verdicts.doubt.astype(np.float32),
            "unlike": verdicts.unlike.astype(np.float32),
            "kept": verdicts.kept,
            "human": names.gather(pl.Series(verdicts.known).replace(-1, None)),
            "sure": pl.Series(np.char.mod("%.3f", confidence), dtype=pl.String),
            "ahead": pl.Series(np.char.mod("%.3f", margin), dtype=pl.String),
            "strange": verdicts.strange,
            "odd": pl.Series(np.char.mod("%.3f", verdicts.unlike), dtype=pl.String),
        }
    ).with_columns(
        because=pl.col("id").replace_strict(because or {}, default=None, return_dtype=pl.String),
        moved=pl.col("guess") != pl.col("plain"),
    )
    of_none = pl.col("id").is_in(list(nothing))
    decided, kept = pl.col("human").is_not_null(), pl.col("kept")
    strange = pl.col("strange")
    # As numpy compares: a threshold such as 0.9 is not rounded to the probabilities' precision.
    least, lead = verdicts.min_confidence, verdicts.min_margin
    unsure = pl.col("confidence").cast(pl.Float64) < least
    close = pl.col("margin").cast(pl.Float64) < lead
    open_ = ((unsure | close | strange) & ~kept) | of_none
    return table.with_columns(
        pl.when(decided).then("human").when(open_).then(None).otherwise("guess").alias("class"),
        pl.when(decided)
        .then(pl.lit("human"))
        .when(open_)
        .then(pl.lit("abstained"))
        .otherwise(pl.lit("accepted"))
        .alias("decision"),
        pl.when(decided)
        .then(pl.coalesce("because", pl.lit("Decided by a person.")))
        .when(of_none)
        .then(pl.lit("A person said that it is of none of the classes."))
        .when(kept)
        .then(pl.lit("Labeled so before, and what speaks against it now is not clear."))
        .when(strange)
        .then(pl.format(reject_reason(verdicts.limit or 0.0), "odd"))
        .when(unsure)
        .then(pl.format(f"Confidence {{}} is below {least:g}.", "sure"))
        .when(close)
        .then(pl.format(f"It leads '{{}}' by {{}}, less than {lead:g}.", "rival", "ahead"))
        .otherwise(pl.format("Confidence {}, {} ahead of {}.", "sure", "ahead", "rival"))
        .alias("reason"),
    ).select(pl.col(name).cast(kind) for name, kind in LABELS.items())
