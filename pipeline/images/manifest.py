"""Tables that name images: CSV or Parquet, with paths relative to the table, or addresses."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from pipeline.errors import SourceError
from pipeline.storage.address import Place, check_address, is_address, joined, name_of, scheme_of
from pipeline.storage.reading import read_bytes

MANIFESTS = (".csv", ".parquet")


def is_manifest(place: Place) -> bool:
    """Say whether a place has the name of a manifest."""
    return name_of(place).lower().endswith(MANIFESTS)


def listed_place(manifest: Place, path: str, number: int) -> str:
    """Return the place that a cell of a manifest means.

    Args:
        number: of its row, from 1.

    Raises:
        SourceError: it is an address that cannot be read, or holds a credential.
    """
    if scheme_of(path) is not None:
        try:
            check_address(path)
        except ValueError as error:
            raise SourceError(f"{manifest}: the path in row {number} {error}.") from None
        return path
    if is_address(manifest):
        return joined(str(manifest).rpartition("/")[0], path)
    return str(Path(manifest).parent / path)


def read_manifest(manifest: Place, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read the text columns of a CSV or Parquet file; no cell of them may be empty. Blank lines are
    passed over.

    Raises:
        SourceError: it is no such table, or lacks a column or a cell.
    """
    try:
        given = io.BytesIO(read_bytes(manifest)) if is_address(manifest) else Path(manifest)
        if name_of(manifest).lower().endswith(".parquet"):
            frame = pl.read_parquet(given, glob=False)
        else:
            frame = pl.read_csv(given, infer_schema=False, encoding="utf8", glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(
            f"{manifest} cannot be read as a table ({reason[:160]}). Save it as UTF-8 CSV or "
            "Parquet."
        ) from error
    frame = frame.rename({name: name.strip().lstrip("\ufeff") for name in frame.columns})
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SourceError(
            f"{manifest} has no column `{missing[0]}`; it has: {', '.join(frame.columns)}. "
            "Rename the column that holds it."
        )
    cells = frame.with_columns(pl.all().cast(pl.String, strict=False)).with_row_index("#", 1)
    blank = pl.all_horizontal(pl.exclude("#").str.strip_chars().fill_null("") == "")
    cells = cells.filter(~blank)  # a spreadsheet leaves blank lines behind
    if cells.is_empty():
        raise SourceError(f"{manifest} lists nothing. Add a row for each image.")
    rows = cells.select("#", *(pl.col(name).str.strip_chars() for name in columns))
    for number, *values in rows.iter_rows():
        for name, value in zip(columns, values, strict=True):
            if not value:
                raise SourceError(
                    f"{manifest}: row {number} has an empty `{name}`. Fill it in or remove the row."
                )
    return rows.drop("#").to_dicts()
