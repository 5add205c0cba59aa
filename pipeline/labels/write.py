"""What labeling leaves: labels.parquet, review.csv and moved.csv."""

from __future__ import annotations

import polars as pl

from pipeline.labels.counts import LabelInputs
from pipeline.labels.decide import label_table
from pipeline.labels.decisions import review_table, write_decisions, write_review
from pipeline.labels.suspected import read_suspects
from pipeline.labels.verdicts import Verdicts
from pipeline.records import LABELS, streamed_table
from pipeline.run.stage import Run

_BLOCK = 20_000  # images labeled together


def write_labels(run: Run, images: pl.DataFrame, verdicts: Verdicts, inputs: LabelInputs) -> None:
    """Write the labels block by block, and what a person should look at.

    Args:
        run: whose folder.
        images: columns id and path, row by row.
        verdicts: a row for each.
        inputs: what people decided, and where.
    """
    workspace = run.workspace
    because = {one: f"It is an example of {inputs.human[one]!r}." for one in inputs.shown}
    with streamed_table(workspace.labels, LABELS) as table:
        for start in range(0, len(images), _BLOCK):
            some = images[start : start + _BLOCK]
            table.add(
                label_table(
                    some["id"].to_list(),
                    some["path"].to_list(),
                    verdicts.part(start, start + _BLOCK),
                    because,
                    frozenset(inputs.nothing),
                )
            )
    moved = set(inputs.moved["id"])
    elsewhere = {
        one: "Moved by hand to" if one in moved else "Decided on Roboflow"
        for one in inputs.human.keys() - set(inputs.filled_in)
    } | dict.fromkeys(inputs.shown, "An example of")
    elsewhere |= dict.fromkeys(inputs.answered, "Answered in the review page")
    labels = pl.scan_parquet(workspace.labels, glob=False)
    rows = review_table(labels, run.ontology, elsewhere, read_suspects(run))
    write_review(workspace.review, rows)
    if not inputs.moved.is_empty():
        write_decisions(workspace.moved, inputs.moved)
