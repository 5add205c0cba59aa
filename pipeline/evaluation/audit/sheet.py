"""`audit.csv`: what was drawn, for a person to fill in.

The order is random: nothing in it tells how doubtful a label is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from pipeline.files import replacing
from pipeline.labels.answers import Answer
from pipeline.labels.decisions import match, read_decisions
from pipeline.ontology import Ontology

NONE = "none of these"  # in the column `class`: the image shows nothing that the ontology has
_COLUMNS = ("path", "class", "guess", "id")


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
        ConfigError: it is no such table, or names a class that the ontology lacks.
    """
    answers, strange = match(read_decisions(path, ontology, (NONE,)), drawn)
    order = _earlier(path)
    rows = [row for row, image_id in enumerate(order) if image_id in answers]
    passed = rows[-1] + 1 - len(rows) if rows else 0
    return answers, len(strange), passed


def write_sheet(
    path: Path, drawn: pl.DataFrame, answers: Mapping[str, Answer], fresh: Sequence[str]
) -> None:
    """Replace the sheet in one step: the rows that it had in their order, then the fresh ones.

    Args:
        path: the sheet.
        drawn: columns id, path and guess, of all that was drawn and is there.
        answers: what people have said, image id → answer; it is filled in.
        fresh: ids in the order in which they are to be asked for.
    """
    rows = {one: (place, guess) for one, place, guess in drawn.iter_rows()}
    order = [one for one in dict.fromkeys([*_earlier(path), *fresh, *rows]) if one in rows]
    said = [answers.get(one) for one in order]
    table = pl.DataFrame(
        {
            "path": [rows[one][0] for one in order],
            "class": [None if one is None else one.class_name or NONE for one in said],
            "guess": [rows[one][1] for one in order],
            "id": order,
        },
        schema=dict.fromkeys(_COLUMNS, pl.String),
    )
    with replacing(path) as aside:
        table.write_csv(aside)


def _earlier(path: Path) -> list[str]:
    """The ids of the rows that it has, if it can be read."""
    if not path.is_file():
        return []
    try:
        table = pl.read_csv(path, infer_schema=False, encoding="utf8", glob=False)
    except (pl.exceptions.PolarsError, OSError):
        return []
    return table["id"].drop_nulls().to_list() if "id" in table.columns else []
