"""Which images everything is learned from, where there are too many to learn from all.

A sample is drawn by content: each id is a hash of an image's bytes, and those whose id, mixed with
the seed, comes first are in it. So it does not depend on the order of images, on machines or on
shards, and a run that grows keeps nearly all of it. Another run may be given the same sample: parts
of a source that learn from the same images agree about every other one.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import Config
from pipeline.errors import SourceError
from pipeline.files import fingerprint
from pipeline.records import SAMPLE, write_table
from pipeline.run.stage import Run
from pipeline.storage.address import Place
from pipeline.storage.reading import read_bytes
from pipeline.values import counted

_BLOCK = 100_000  # ids read together
_DIGITS = 16  # of an id, that its place in the order comes from


def ranks(ids: pl.Series, seed: int) -> np.ndarray:
    """Return a number for each id, (n,) uint64: uniform, the same wherever the id turns up, and
    with another seed another one."""
    found = np.empty(len(ids), np.uint64)
    for start in range(0, len(ids), _BLOCK):
        some = ids[start : start + _BLOCK].str.slice(0, _DIGITS).to_list()
        found[start : start + len(some)] = np.frombuffer(bytes.fromhex("".join(some)), ">u8")
    return _mixed(found ^ _mixed(np.array([seed], np.uint64)))


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Scatter numbers over 64 bits (the finalizer of SplitMix64: Steele, Lea and Flood, 2014)."""
    with np.errstate(over="ignore"):
        found = numbers + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = found ^ (found >> np.uint64(31))
    return mixed


def sampled_rows(
    config: Config, ids: pl.Series, images: int, known: np.ndarray, given: pl.DataFrame | None
) -> np.ndarray | None:
    """Return the rows that everything is learned from, in the order of their ranks; None: all.

    What people decided is among them, whether it was drawn or not.

    Args:
        config: of the run.
        ids: of all rows.
        images: how many of them, the first, are the run's.
        known: (n,) int, -1 where nobody has decided.
        given: the sample that the config names, see `read_sample`.

    Raises:
        SourceError: images of that sample are not among the rows.
    """
    size = config.label.sample
    if given is None and (not isinstance(size, int) or images <= size):
        return None
    order = ranks(ids, config.dataset.seed)
    if given is None:
        assert isinstance(size, int)
        drawn = np.argpartition(order[:images], size - 1)[:size]
    else:
        drawn = np.flatnonzero(ids.is_in(given["id"].implode()).to_numpy())
        if len(drawn) < len(given):
            lost = given.filter(~pl.col("id").is_in(ids.implode()))
            raise SourceError(
                f"{counted(len(lost), 'image')} of `label.sample` cannot be read any more, among "
                f"them {lost['path'][0]}. Bring them back, or draw another sample."
            )
    rows = np.union1d(drawn, np.flatnonzero(known >= 0))
    found: np.ndarray = rows[np.argsort(order[rows], kind="stable")]
    return found


def read_sample(config: Config) -> pl.DataFrame | None:
    """Return the sample that the config names, with the schema `records.SAMPLE`; None where it
    names none.

    Raises:
        SourceError: it cannot be read, or is no sample.
    """
    place = config.label.sample
    return None if isinstance(place, int) else _table(place)


def _table(place: Place) -> pl.DataFrame:
    try:
        table = pl.read_parquet(io.BytesIO(read_bytes(place)))
        table = table.select(pl.col(name).cast(kind) for name, kind in SAMPLE.items())
        named = table["id"].str.contains(r"^[0-9a-f]{64}$").fill_null(False)
    except (OSError, SourceError, pl.exceptions.PolarsError) as error:
        raise SourceError(
            f"`label.sample`: {place} cannot be read ({type(error).__name__}). Name the "
            "sample.parquet of another run, or how many images to draw."
        ) from error
    if table.is_empty() or not named.all() or table["path"].null_count():
        raise SourceError(
            f"`label.sample`: {place} holds no ids of images. Name the sample.parquet of another "
            "run, or how many images to draw."
        )
    return table.unique("id", maintain_order=True)


def keep_sample(run: Run, images: pl.DataFrame, used: bool) -> None:
    """Write the sample that was drawn from a run's images, for other runs; none where all of them
    were learned from, or where the sample was given.

    Args:
        run: whose folder.
        images: those that could be read, with the schema `records.IMAGES`.
        used: whether a sample was learned from.
    """
    size, file = run.config.label.sample, run.workspace.sample
    if not isinstance(size, int):
        return
    if not used:
        file.unlink(missing_ok=True)
        return
    order = ranks(images["id"], run.config.dataset.seed)
    rows = np.argpartition(order, size - 1)[:size]
    drawn = images[np.sort(rows)].select(list(SAMPLE))
    write_table(file, drawn)


def sample_basis(config: Config, images: pl.DataFrame) -> list[Any]:
    """Return what labels depend on through their sample; nothing where they do not, so that the
    labels of small runs stand.

    Args:
        config: of the run.
        images: with the schema `records.IMAGES`.

    Raises:
        SourceError: see `read_sample`.
    """
    size = config.label.sample
    if isinstance(size, int):
        usable = int((images["status"] == "ok").sum())
        return [["sample", size, config.dataset.seed]] if usable > size else []
    given = read_sample(config)
    assert given is not None
    return [["sample", fingerprint(sorted(given["id"].to_list())), config.dataset.seed]]
