"""`audit.csv`: what was drawn, for a person to fill in.

The order is random and no guess stands beside: nothing in it tells what the label is, or how
doubtful, for whoever sees an answer tends to agree with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from pipeline.errors import ConfigError
from pipeline.files import replacing
from pipeline.labels.answers import Answer
from pipeline.labels.decisions import match, read_decisions
from pipeline.labels.filled_in import Dialect, read_filled_in
from pipeline.ontology import Ontology

NONE = "none of these"  # in the column `class`: the image shows nothing that the ontology has
_COLUMNS = ("path", "class", "id")


def filled_in(
    path: Path, ontology: Ontology, drawn: pl.DataFrame
) -> tuple[dict[str, str], int, int]:
    """Return what a person has filled in, image id → class or `NONE`; of how many images that were
    not drawn; and how many rows before the last filled-in one are empty.

    Args:
        path: the sheet, which need not be there.
        ontology: whose classes the answers are of.
        drawn: columns id and path.

    Raises:
        ConfigError: it is no such table, names a class that the ontology lacks, or gives an image
            two classes.
    """
    rows = read_decisions(path, ontology, (NONE,))
    answers, strange = match(rows, drawn)
    first, _ = match(rows.reverse(), drawn)
    for image_id, name in answers.items():
        if first[image_id] != name:
            place = drawn.filter(pl.col("id") == image_id)["path"][0]
            raise ConfigError(
                f"{path} has {place} twice, as {first[image_id]!r} and as {name!r}. Delete one of "
                "both rows."
            )
    order, _ = _earlier(path)
    answered = [row for row, image_id in enumerate(order) if image_id in answers]
    passed = answered[-1] + 1 - len(answered) if answered else 0
    return answers, len(strange), passed


def write_sheet(
    path: Path, drawn: pl.DataFrame, answers: Mapping[str, Answer], fresh: Sequence[str]
) -> None:
    """Replace the sheet in one step: the rows that it had in their order, then the fresh ones. It
    is spelled as the person's spreadsheet has saved it.

    Args:
        path: the sheet.
        drawn: columns id and path, of all that was drawn and is there.
        answers: what people have said, image id → answer; it is filled in.
        fresh: ids in the order in which they are to be asked for.
    """
    places = dict(drawn.select("id", "path").iter_rows())
    earlier, dialect = _earlier(path)
    order = [one for one in dict.fromkeys([*earlier, *fresh, *places]) if one in places]
    said = [answers.get(one) for one in order]
    table = pl.DataFrame(
        {
            "path": [places[one] for one in order],
            "class": [None if one is None else one.class_name or NONE for one in said],
            "id": order,
        },
        schema=dict.fromkeys(_COLUMNS, pl.String),
    )
    with replacing(path) as aside:
        table.write_csv(aside, separator=dialect.separator, include_bom=dialect.mark)


def _earlier(path: Path) -> tuple[list[str], Dialect]:
    """The ids of the rows that it has, if it can be read, and how it is spelled."""
    if not path.is_file():
        return [], Dialect()
    try:
        table, dialect = read_filled_in(path)
    except (pl.exceptions.PolarsError, ValueError, OSError):
        return [], Dialect()
    return table["id"].drop_nulls().to_list() if "id" in table.columns else [], dialect
