"""Labels that a trained student finds likely wrong, put before people in review.csv."""

from __future__ import annotations

import polars as pl

from pipeline.errors import ConfigError
from pipeline.labels.decisions import add_to_review, review_table
from pipeline.records import SUSPECTS, read_table
from pipeline.run.stage import Run


def read_suspects(run: Run) -> pl.DataFrame:
    """Return the likeliest errors of suspects.parquet, as many as `evaluate.suspects` says: columns
    id, class, suspicion and why, a sentence. Without the file there are none."""
    file, most = run.workspace.suspects, run.config.evaluate.suspects
    table = (
        read_table(file, SUSPECTS, "evaluate") if file.is_file() else pl.DataFrame(schema=SUSPECTS)
    )
    mine, theirs = (pl.col(name).round(2).cast(pl.String) for name in ("neighbours", "rival_share"))
    return table.head(most).select(
        *("id", "class", "suspicion"),
        why=pl.format(
            "Suspected after training: images like it are believed to be '{}' by {}, '{}' by {}.",
            *("class", mine, "rival", theirs),
        ),
    )


def put_up_for_review(run: Run) -> None:
    """Add the likeliest errors to review.csv, before what stands there. What a person has filled in
    stays, and a review file that cannot be read is left as it is, and told."""
    suspects = read_suspects(run)
    labels = pl.scan_parquet(run.workspace.labels, glob=False)
    theirs = labels.filter(pl.col("id").is_in(suspects["id"].implode()))
    table = review_table(theirs.filter(decision="accepted"), run.ontology, suspects=suspects)
    try:
        add_to_review(run.workspace.review, table)
    except ConfigError as error:
        run.listener.warn(f"{error} The labels that are likely wrong were not added to it.")
