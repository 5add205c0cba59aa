"""Which images an audit stands for, and which of them were drawn: `audit.parquet`.

The images that there are when somebody first asks are parted into strata and put into a random
order there; an audit that grows goes on in that order, so that what is drawn stays a random sample.
Images that arrive later are strata of their own, from the next draw on. Labels may change as often
as they like: the strata stay what they were, and so does what an answer stands for.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.evaluation.audit.draw import allocation, strata

FRAME = {
    "id": pl.String,
    "stratum": pl.Int64,  # in the order of the doubt; those of one draw share the thousands
    "place": pl.Int64,  # in the random order of the stratum
    "drawn": pl.Boolean,
}
ROUND = 1000  # strata of one draw


def grown(
    frame: pl.DataFrame, labels: pl.DataFrame, answers: int, seed: int
) -> tuple[pl.DataFrame, list[str]]:
    """Return the frame with so many images drawn, and the ids of those that were drawn now.

    Look-alikes whose label is the same count as one image, of which a random one is in the frame.

    Args:
        frame: with the schema `FRAME`; empty before the first draw.
        labels: all images that a machine has labeled; columns id, guess, doubt, and group, which
            look-alikes share (null: it has none).
        answers: how many images are to be drawn in all, among those that are still there.
        seed: of the draw.
    """
    rng = np.random.default_rng([seed, len(frame)])
    frame = pl.concat([frame, _new(frame, labels, answers, rng)])
    here = pl.col("id").is_in(labels["id"].implode())
    sizes = frame.filter(here).group_by("stratum").len().sort("stratum")
    wanted = dict(zip(sizes["stratum"], allocation(sizes["len"].to_numpy(), answers), strict=True))
    # Those that were drawn before come first, as they always did; then the order goes on.
    turn = pl.int_range(pl.len()).over("stratum", order_by=[~pl.col("drawn"), "place"])
    more = (
        frame.filter(here)
        .with_columns(turn=turn)
        .filter(
            pl.col("turn") < pl.col("stratum").replace_strict(wanted, return_dtype=pl.Int64),
            ~pl.col("drawn"),
        )["id"]
    )
    drawn = pl.col("drawn") | pl.col("id").is_in(more.implode())
    return frame.with_columns(drawn), rng.permutation(more.to_list()).tolist()


def _new(
    frame: pl.DataFrame, labels: pl.DataFrame, answers: int, rng: np.random.Generator
) -> pl.DataFrame:
    """Strata of the images that the frame does not know."""
    group = pl.coalesce("group", "id")
    known = pl.col("id").is_in(frame["id"].implode())
    old = labels.filter(known).select(group.alias("group"))["group"]
    order = pl.Series(rng.permutation(len(labels)))
    rows = (
        labels.with_columns(group=group, order=order)
        .filter(~known, ~pl.col("group").is_in(old.implode()))
        .sort("order")
        .unique(["group", "guess"], keep="first", maintain_order=True)
    )
    if rows.is_empty():
        return pl.DataFrame(schema=FRAME)
    first = 0 if frame.is_empty() else (int(frame["stratum"].to_numpy().max()) // ROUND + 1) * ROUND
    # A draw among few new images asks for as many as their share of all is.
    share = round(answers * len(rows) / (len(rows) + len(frame)))
    numbers = first + strata(rows["doubt"].fill_null(0.5).to_numpy(), max(1, share))
    return rows.select(
        "id", stratum=pl.Series(numbers), place=pl.int_range(pl.len(), dtype=pl.Int64),
        drawn=pl.lit(False),
    ).select(pl.col(name).cast(kind) for name, kind in FRAME.items())  # fmt: skip
