"""Tables that people fill in: CSV as spreadsheets save it, and not only as it was written."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline.files import naming

_SEPARATORS = (",", ";", "\t")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Dialect:
    """How a table is spelled. Where a comma is the decimal mark, Excel parts columns by
    semicolons, and without a byte order mark it takes UTF-8 for the code page of its Windows."""

    separator: str = ","
    mark: bool = False  # it begins with a byte order mark


def read_filled_in(path: Path) -> tuple[pl.DataFrame, Dialect]:
    """Return a table with all its columns as text, and how it was spelled.

    It may be UTF-8, with or without a byte order mark, UTF-16 with one (Excel's "Unicode text"),
    or Windows-1252 (Excel's "CSV"), parted by commas, semicolons or tabs.

    Raises:
        ValueError, polars.exceptions.PolarsError: it is no such table.
        OSError: it cannot be read.
    """
    with naming(path):
        data = path.read_bytes()
    mark = data.startswith((codecs.BOM_UTF8, *_UTF16))
    text = _decoded(data)
    first = text.split("\n", 1)[0]
    separator = max(_SEPARATORS, key=first.count)
    table = pl.read_csv(text.encode(), separator=separator, infer_schema=False)
    return table.rename({name: name.strip() for name in table.columns}), Dialect(separator, mark)


def _decoded(data: bytes) -> str:
    if data.startswith(_UTF16):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in data:  # no text at all
            raise
        return data.decode("cp1252")
