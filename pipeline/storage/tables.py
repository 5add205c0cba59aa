"""The one place that knows pyarrow: columns of Parquet files that hold image files, read and
written.

A column holds bytes, or structs with a field `bytes` as Hugging Face datasets write them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

from pipeline.errors import ConfigError, SourceError

_ROWS = 64  # read together
# Written together: readers of Hugging Face datasets take a group of rows into memory whole.
_GROUP_ROWS, _GROUP_BYTES = 100, 64 << 20


def _library() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            "For images in Parquet files pyarrow is needed. Install it with "
            "`pip install 'clip2yolo[parquet]'`."
        ) from None
    return pyarrow


def check_library() -> None:
    """Refuse to go on without what Parquet files need.

    Raises:
        ConfigError: it is not installed; says how that is done.
    """
    _library()


def write_images(
    path: Path, rows: Iterable[tuple[bytes, str, int, str]], classes: Sequence[str]
) -> None:
    """Write images as Hugging Face datasets have them: a struct `image` of bytes and path, the
    number `label`, whose names stand in the file's metadata, and the text `id`.

    Bytes lie in the file as they are, neither compressed nor encoded, so that they can be read in
    the middle. Of images no statistics are kept: they would be copies of the least and the largest.

    Args:
        rows: bytes, name, number of the class, id.
        classes: names of the numbers.
    """
    arrow = _library()
    fields = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        "id": {"dtype": "string", "_type": "Value"},
    }
    schema = arrow.schema(
        {
            "image": arrow.struct({"bytes": arrow.binary(), "path": arrow.string()}),
            "label": arrow.int64(),
            "id": arrow.string(),
        },
        {"huggingface": json.dumps({"info": {"features": fields}})},
    )
    with arrow.parquet.ParquetWriter(
        str(path),
        schema,
        compression="none",
        use_dictionary=False,
        write_statistics=["label", "id"],
        data_page_version="1.0",
    ) as writer:
        for group in _groups(rows):
            images, names, numbers, ids = map(list, zip(*group, strict=True))
            cells = [{"bytes": b, "path": n} for b, n in zip(images, names, strict=True)]
            writer.write_table(arrow.table([cells, numbers, ids], schema=schema))


def _groups(rows: Iterable[tuple[bytes, str, int, str]]) -> Iterator[list[Any]]:
    """Rows in lists that are not too long, nor too large."""
    waiting = iter(rows)
    for first in waiting:
        group, size = [], 0
        for row in chain([first], waiting):
            group.append(row)
            size += len(row[0])
            if len(group) == _GROUP_ROWS or size >= _GROUP_BYTES:
                break
        yield group


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
