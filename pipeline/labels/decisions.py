"""What people decided: in `review.csv`, on Roboflow (`human.csv`), by moving files (`moved.csv`).

Each is a table with the columns `path`, `class` and `id`. A row is matched to its image by the id,
or where an editor lost or altered that, by the path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.errors import ConfigError
from pipeline.files import replacing
from pipeline.labels.filled_in import read_filled_in
from pipeline.ontology import Ontology

REVIEW_COLUMNS = (
    *("path", "class", "guess", "rival", "plain", "confidence", "margin", "doubt", "reason", "id"),
)
_DECIDED = ("path", "class", "id")
_ERRORS = 100  # accepted labels that are shown for their doubt
DOUBTFUL = 0.5  # from which an accepted label is shown at all


def review_table(
    labels: pl.LazyFrame, ontology: Ontology, elsewhere: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Return what a person should look at, most doubtful first: all images that abstain or were
    decided by a person, and of the accepted labels the likeliest errors, at most a hundred.

    `class` is empty where nobody has decided, for the person to fill in; rows that a person has
    decided keep their class, so nothing that was filled in is lost when the file is written again.
    What stands here was chosen for its doubt: it says nothing of how right the other labels are.

    Args:
        labels: labels.parquet.
        ontology: whose classes they have.
        elsewhere: image id → where it was decided, if not in the review file. It is for that place
            to take back: the class is only the reason here, since in `class` it would count as
            decided here from then on.
    """
    names = pl.Series(ontology.classes, dtype=pl.String)
    accepted = pl.col("decision") == "accepted"
    errors = labels.filter(accepted & (pl.col("doubt") >= DOUBTFUL))
    likeliest = errors.sort("doubt", "id", descending=[True, False]).head(_ERRORS)
    rows = pl.concat([labels.filter(~accepted), likeliest]).collect()
    where = pl.col("id").replace_strict(elsewhere or {}, default=None, return_dtype=pl.String)
    here = (pl.col("decision") == "human") & where.is_null()
    rows = rows.with_columns(
        pl.when(here).then("class").otherwise(None).alias("class"),
        pl.coalesce(pl.format("{}: {}.", where, "class"), "reason").alias("reason"),
    )
    rivals = [
        names[int(np.argsort(-np.asarray(row), kind="stable")[1])]
        for row in rows["probabilities"].to_list()
    ]
    return (
        rows.with_columns(pl.Series("rival", rivals, dtype=pl.String))
        .sort("doubt", "margin", "confidence", "id", descending=[True, False, False, False])
        .select(REVIEW_COLUMNS)
    )


def read_decisions(path: Path, ontology: Ontology, besides: Sequence[str] = ()) -> pl.DataFrame:
    """Return the rows of a table of decisions whose `class` is filled in: path, class and id.

    No file, or no class filled in, is no decision.

    Args:
        path: the table.
        ontology: whose classes may be given.
        besides: what else may stand in place of a class.

    Raises:
        ConfigError: the file is not such a table, or names a class the ontology lacks.
    """
    if not path.is_file():
        return pl.DataFrame(schema=dict.fromkeys(_DECIDED, pl.String))
    filled = _filled(_read(path))
    known = {*ontology.classes, *besides}
    unknown = filled.filter(~pl.col("class").is_in(list(known)))
    if not unknown.is_empty():
        raise ConfigError(
            f"{path} gives the class {unknown['class'][0]!r}, which the ontology does not have. "
            f"Use one of: {', '.join([*ontology.classes, *besides])}; or leave the cell empty."
        )
    return filled.select(_DECIDED)


def match(decisions: pl.DataFrame, images: pl.DataFrame) -> tuple[dict[str, str], pl.DataFrame]:
    """Return image id → class, and the rows that name no image.

    Args:
        decisions: with the columns id, path and class.
        images: with the columns id and path.
    """
    known = images.filter(pl.col("id").is_not_null())
    by_path = known.select("path", by_path="id").unique("path")
    rows = decisions.join(by_path, "path", "left", maintain_order="left").with_columns(
        meant=pl.when(pl.col("id").is_in(known["id"].implode()))
        .then("id")
        .otherwise(pl.col("by_path"))
    )
    found = rows.filter(pl.col("meant").is_not_null())
    return dict(found.select("meant", "class").iter_rows()), rows.filter(
        pl.col("meant").is_null()
    ).select(decisions.columns)


def decisions_of(decided: Mapping[str, str], images: pl.DataFrame) -> pl.DataFrame:
    """Return decisions, image id → class, as rows of a table: path, class and id.

    Args:
        images: with the columns id and path.
    """
    rows = pl.DataFrame(
        {"id": list(decided), "class": list(decided.values())},
        schema={"id": pl.String, "class": pl.String},
    )
    paths = images.select("id", "path").unique("id")
    return rows.join(paths, "id", "left", maintain_order="left").select(_DECIDED)


def write_decisions(path: Path, decisions: pl.DataFrame) -> None:
    """Replace a table of decisions in one step."""
    with replacing(path) as aside:
        decisions.write_csv(aside)


def write_review(path: Path, table: pl.DataFrame, keep: bool = True) -> None:
    """Replace the review file in one step.

    Args:
        path: the review file.
        table: from `review_table`.
        keep: rows of the old file that a person has decided and whose images are not in `table`
            stay at the end: an image that is away for a day must not cost the decision.
    """
    if keep and path.is_file():
        _, absent = match(_filled(_read(path)), table)
        rows = absent.select(
            pl.col(name).cast(kind, strict=False)
            if name in absent.columns
            else pl.lit(None, kind).alias(name)
            for name, kind in table.schema.items()
        )
        table = pl.concat([table, rows])
    with replacing(path) as aside:
        table.write_csv(aside, float_precision=4)


def _read(path: Path) -> pl.DataFrame:
    """A table of decisions, with all its columns as text; those for path and id are there."""
    try:
        table, _ = read_filled_in(path)
    except (pl.exceptions.PolarsError, ValueError, OSError) as error:
        raise _no_table(path, str(error).splitlines()[0]) from error
    if "class" not in table.columns or not {"id", "path"} & set(table.columns):
        raise _no_table(path, f"its columns are: {', '.join(table.columns)}")
    lacking = [name for name in _DECIDED if name not in table.columns]
    return table.with_columns(pl.lit(None, pl.String).alias(name) for name in lacking)


def _no_table(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"{path} cannot be read as a table of decisions ({reason}). Save it as UTF-8 CSV with its "
        "columns `id` (or `path`) and `class`, or delete it to start over."
    )


def _filled(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.col(name).str.strip_chars() for name in _DECIDED).filter(
        pl.col("class").fill_null("") != ""
    )
