"""The one place that knows pyarrow: columns of Parquet files that hold image files.

A column holds bytes, or structs with a field `bytes` as Hugging Face datasets write them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO, Any

from pipeline.errors import ConfigError, SourceError

_ROWS = 64  # read together


def _library() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            "To read images from Parquet files pyarrow is needed. Install it with "
            "`pip install 'clip2yolo[parquet]'`."
        ) from None
    return pyarrow


@contextlib.contextmanager
def _opened(file: IO[bytes], name: str) -> Iterator[Any]:
    """Open a Parquet file, with errors in words.

    Raises:
        SourceError: it is damaged, or no Parquet file.
    """
    arrow = _library()
    try:
        yield arrow.parquet.ParquetFile(file)
    except arrow.ArrowException as error:
        raise SourceError(f"It is damaged ({type(error).__name__}).") from error


def cells_of(file: IO[bytes], name: str, column: str) -> Iterator[bytes | None]:
    """Yield the bytes in each row of a column, None where it is empty.

    Raises:
        SourceError: the file is damaged, or has no such column of bytes.
    """
    with _opened(file, name) as table:
        _check_column(table, name, column)
        for batch in table.iter_batches(_ROWS, columns=[column]):
            cells = _bytes_of(batch.column(0))
            for row in range(len(cells)):
                yield bytes_in(cells, row)


def group_starts(file: IO[bytes], name: str) -> list[int]:
    """Return the first row of each row group."""
    with _opened(file, name) as table:
        starts, row = [], 0
        for number in range(table.metadata.num_row_groups):
            starts.append(row)
            row += table.metadata.row_group(number).num_rows
        return starts


def read_group(file: IO[bytes], name: str, column: str, number: int) -> Any:
    """Return the bytes of a column in one row group, as an array for `bytes_in`.

    Raises:
        SourceError: see `cells_of`.
    """
    with _opened(file, name) as table:
        _check_column(table, name, column)
        if number >= table.metadata.num_row_groups:
            raise SourceError("There is no such row any more.")
        return _bytes_of(table.read_row_group(number, columns=[column]).column(0))


def bytes_in(cells: Any, row: int) -> bytes | None:
    """Return the bytes in a row of an array that `read_group` returned.

    Raises:
        SourceError: there is no such row.
    """
    if not 0 <= row < len(cells):
        raise SourceError("There is no such row any more.")
    found: bytes | None = cells[row].as_py()
    return found


def _check_column(table: Any, name: str, column: str) -> None:
    arrow = _library()
    schema = table.schema_arrow
    if column not in schema.names:
        raise SourceError(f"It has no column `{column}`; it has: {', '.join(schema.names)[:200]}.")
    kind = schema.field(column).type
    if arrow.types.is_struct(kind):
        inner = [kind.field(n) for n in range(kind.num_fields) if kind.field(n).name == "bytes"]
        kind = inner[0].type if inner else kind
    if not (arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind)):
        raise SourceError(
            f"Its column `{column}` holds {kind}, and no image files. Name one that holds bytes."
        )


def _bytes_of(cells: Any) -> Any:
    arrow = _library()
    if not arrow.types.is_struct(cells.type):
        return cells
    import pyarrow.compute

    return pyarrow.compute.struct_field(cells, "bytes")
