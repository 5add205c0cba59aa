"""`review.csv`: where the teacher was in doubt, for a person to decide, and what they decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.errors import ConfigError
from pipeline.files import replacing
from pipeline.ontology import Ontology
from pipeline.run.workspace import Workspace

REVIEW_COLUMNS = ("path", "class", "guess", "rival", "confidence", "margin", "reason", "id")


def review_table(
    labels: pl.DataFrame, ontology: Ontology, decided_here: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return what a person should look at, most doubtful first.

    `class` is empty where the teacher abstained, for the person to fill in; rows that a person has
    decided keep their class, so nothing that was filled in is lost when the file is written again.

    Args:
        labels: of labels.parquet; accepted ones are passed over.
        ontology: whose classes they have.
        decided_here: ids that were decided in the review file, by default all that a person has
            decided. What was decided on Roboflow is for Roboflow to take back: its class is only
            the reason here, since in `class` it would count as decided here from then on.
    """
    names = pl.Series(ontology.classes, dtype=pl.String)
    open_rows = labels.filter(pl.col("decision").is_in(["abstained", "human"]))
    if decided_here is not None:
        pulled = (pl.col("decision") == "human") & ~pl.col("id").is_in(list(decided_here))
        said = pl.format("Decided on Roboflow: {}.", "class")
        open_rows = open_rows.with_columns(
            pl.when(~pulled).then("class").alias("class"),
            pl.when(pulled).then(said).otherwise("reason").alias("reason"),
        )
    rivals = [
        names[int(np.argsort(-np.asarray(row), kind="stable")[1])]
        for row in open_rows["probabilities"].to_list()
    ]
    return (
        open_rows.with_columns(pl.Series("rival", rivals, dtype=pl.String))
        .sort("margin", "confidence", "id")
        .select(REVIEW_COLUMNS)
    )


def read_review(path: Path, ontology: Ontology) -> dict[str, str]:
    """Return a person's decisions, id → class, from the `class` column of their review file.

    No file, or no class filled in, is no decision.

    Raises:
        ConfigError: the file is not the table we wrote, or names a class the ontology lacks.
    """
    if not path.is_file():
        return {}
    try:
        table = pl.read_csv(path, infer_schema=False, encoding="utf8")
        filled = table.filter(pl.col("class").str.strip_chars().fill_null("") != "")
        decided = [
            (image_id, name.strip()) for image_id, name in filled.select("id", "class").iter_rows()
        ]
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{path} cannot be read as the review table ({reason}). Save it as UTF-8 CSV with its "
            "columns `id` and `class`, or delete it to start over."
        ) from error
    for _, name in decided:
        if name not in ontology.classes:
            raise ConfigError(
                f"{path} gives the class {name!r}, which the ontology does not have. Use one of: "
                f"{', '.join(ontology.classes)}; or leave the cell empty."
            )
    return dict(decided)


def human_decisions(workspace: Workspace, ontology: Ontology) -> dict[str, str]:
    """Return all decisions of people, id → class: those pulled from Roboflow, and over them those
    in the review file.

    Raises:
        ConfigError: see `read_review`.
    """
    pulled, filled_in = workspace.human, workspace.review
    return read_review(pulled, ontology) | read_review(filled_in, ontology)


def write_review(path: Path, table: pl.DataFrame, keep: Ontology | None = None) -> None:
    """Replace the review file in one step.

    Args:
        path: the review file.
        table: from `review_table`.
        keep: where given, rows of the old file that a person has decided and whose images are not
            in `table` stay at the end: an image that is away for a day must not cost the decision.
    """
    if keep is not None and (absent := set(read_review(path, keep)) - set(table["id"])):
        old = pl.read_csv(path, infer_schema=False, encoding="utf8")
        rows = old.filter(pl.col("id").is_in(list(absent))).select(
            pl.col(name).cast(kind) if name in old.columns else pl.lit(None, kind).alias(name)
            for name, kind in table.schema.items()
        )
        table = pl.concat([table, rows])
    with replacing(path) as aside:
        table.write_csv(aside, float_precision=4)
