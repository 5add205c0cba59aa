"""The dataset as shards: a few large files, where a folder would hold millions of small ones.

    train/000000-3f0a9c12d4e5f607.tar …, valid/…, test/…
    shards.json          format, classes in the order of their numbers, the shards of each split

Which shard an image goes to follows from its id, and a shard's name from what is in it: whoever
does the same work again writes the same files, one that is there is not written again, and a new
image changes one shard of its split. Nothing needs to be shuffled, as ids are in no order of
anybody's.

Where each image lies stands in a table in the run's `dataset/`. It is written when all shards are
there; what is no longer needed goes after that. Whichever moment a process is killed at, the next
one goes on, and knows which files are the run's.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.dataset.export import Exported, exported_bytes, link_or_copy, still_there
from pipeline.dataset.pack import FORMATS, Picture
from pipeline.dataset.sharded import INDEX, ShardNote, read_note
from pipeline.errors import WorkspaceError
from pipeline.files import fingerprint, replacing, sweep
from pipeline.listener import Progress, no_progress
from pipeline.pixels import MAX_PIXELS
from pipeline.records import SHARDED, SHARDED_FILE, SHARDS_MADE, SPLITS, read_table, write_table
from pipeline.storage.address import Place
from pipeline.storage.depot import Depot
from pipeline.storage.reading import read_each

_PARTS = ".clip2yolo.parts"  # tables of the shards that are done, while others are not
_LAYOUT = 1  # of a shard; another one gives other names


@dataclass(frozen=True)
class Shard:
    """A shard that is to be there."""

    name: str  # below the dataset
    images: pl.DataFrame  # columns id, path, class, split and file, sorted by id


def deal_shards(
    plan: pl.DataFrame, sizes: pl.DataFrame, form: str, shard_bytes: int
) -> list[Shard]:
    """Say which image goes into which shard.

    Each split has a power of two of them, so few that an average one has no more than
    `shard_bytes`, and no more than it has images. An image's shard is said by the first digits of
    its id.

    Args:
        plan: dataset.parquet.
        sizes: columns id and bytes, of the images.
        form: of `pack.FORMATS`.
        shard_bytes: without what a format adds.
    """
    rows = plan.select("id", "path", "class", "split", "file").join(
        sizes.select("id", size=pl.col("bytes").fill_null(0)).unique("id"), "id", "left"
    )
    classes = classes_of(plan)
    shards = []
    for split in SPLITS:
        some = rows.filter(pl.col("split") == split).sort("id")
        total, parts = int(some["size"].sum()), 1
        while total > parts * shard_bytes and 2 * parts <= len(some):
            parts *= 2
        place = pl.col("id").str.head(8).str.to_integer(base=16) * parts // 2**32
        dealt = some.with_columns(part=place).partition_by("part", maintain_order=True)
        for number, images in enumerate(dealt if len(some) else ()):
            images = images.drop("size", "part")
            content = images.select("id", "class", "file").rows()
            digest = fingerprint(_LAYOUT, form, classes, content)[:16]
            name = f"{split}/{number:06d}-{digest}{FORMATS[form][0]}"
            shards.append(Shard(name, images))
    return shards


def classes_of(plan: pl.DataFrame) -> list[str]:
    """Return the classes that there are images of, in the order of their numbers: the one in which
    folders would be numbered, and a student answers."""
    return sorted(plan["class"].unique())


def export_shards(
    plan: pl.DataFrame,
    sizes: pl.DataFrame,
    folder: Path,
    *,
    form: str,
    to: Place | None = None,
    shard_bytes: int,
    foreign: Sequence[str] = (),
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> Exported:
    """Write the dataset as shards; returns what came of it.

    Args:
        plan, sizes, form, shard_bytes: see `deal_shards`.
        folder: of the run's dataset. An export as class folders that lies there goes.
        to: where the shards lie; by default in `folder`.
        foreign: files below `folder` that are not of an earlier export and shall stay.

    Raises:
        SourceError: a source image has vanished, changed or cannot be read any more.
        WorkspaceError: `to` holds what another run has made, or cannot be written to.
        ConfigError: what the format or the store needs is not installed.
    """
    note = _claimed(folder, foreign)
    depot = _depot(folder, to, note)
    for place in (folder, folder / _PARTS):
        sweep(place)
    depot.sweep(SPLITS)
    classes, shards = classes_of(plan), deal_shards(plan, sizes, form, shard_bytes)
    names = [shard.name for shard in shards]
    there, before = depot.sizes(), _known(folder)
    note.begin(folder, to, names)
    done, tables = 0, []
    for shard in shards:
        table = _finished(shard, folder, before, there)
        if table is None:
            table = _write(shard, depot, form, classes, max_pixels)
            write_table(folder / _PARTS / f"{_flat(shard.name)}.parquet", table)
        tables.append(table)
        done += len(table)
        progress(done, len(plan))
    depot.write(INDEX, _index(form, classes, tables))
    write_table(folder / SHARDED_FILE, pl.concat(tables))
    _clear(folder, depot, note, to, names)
    suffixes = pl.concat(tables)["png_of"].drop_nulls()
    return Exported(as_png=Counter(suffixes.to_list()), left_behind=note.left_behind(to))


def _claimed(folder: Path, foreign: Sequence[str]) -> ShardNote:
    """What the run has noted of its shards; before the first one the folder is made ready."""
    note = read_note(folder)
    if note is not None:
        return note
    fresh = ShardNote(secrets.token_hex(8), None, {})
    with replacing(folder) as aside:
        aside.mkdir()
        for file in foreign:
            (aside / file).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(folder / file, aside / file)
        fresh.write(aside)
    return fresh


def _depot(folder: Path, to: Place | None, note: ShardNote) -> Depot:
    """Where shards are written, and nobody else writes."""
    if to is None:
        return Depot(folder)
    depot = Depot(to)
    owner = depot.read(SHARDS_MADE)
    if owner is None and depot.read(INDEX) is None:
        depot.write(SHARDS_MADE, json.dumps({"run": note.run}).encode())
    elif owner is None or _run_in(owner) != note.run:
        raise WorkspaceError(
            f"{depot.root} holds a dataset that this run has not made. Give `dataset.to` a place "
            "of its own, or delete what lies there."
        )
    return depot


def _run_in(data: bytes) -> str | None:
    try:
        return str(json.loads(data)["run"])
    except (ValueError, KeyError, TypeError):
        return None


def _known(folder: Path) -> dict[str, pl.DataFrame]:
    """The shards of the last export: name → its rows."""
    if not (folder / SHARDED_FILE).is_file():
        return {}
    table = read_table(folder / SHARDED_FILE, SHARDED, "label")
    return {str(name): rows for (name,), rows in table.group_by(["shard"], maintain_order=True)}


def _finished(
    shard: Shard, folder: Path, before: dict[str, pl.DataFrame], there: dict[str, int]
) -> pl.DataFrame | None:
    """The rows of a shard that was written before and lies there whole."""
    part = folder / _PARTS / f"{_flat(shard.name)}.parquet"
    rows = before.get(shard.name)
    if rows is None and part.is_file():
        rows = read_table(part, SHARDED, "label")
    if rows is None or rows["shard_bytes"][0] != there.get(shard.name):
        return None
    return rows


def _write(
    shard: Shard, depot: Depot, form: str, classes: Sequence[str], max_pixels: int
) -> pl.DataFrame:
    png_of: list[str | None] = []

    def pictures() -> Iterator[Picture]:
        rows = shard.images.select("id", "path", "class", "file")
        for row, data in zip(rows.iter_rows(), read_each(rows["path"].to_list()), strict=True):
            image_id, path, class_name, file = row
            name = file.rsplit("/", 1)[-1]
            with still_there(path):
                if isinstance(data, Exception):
                    raise data
                kept, suffix = exported_bytes(path, data, image_id, Path(name).suffix, max_pixels)
            png_of.append(suffix)
            yield Picture(image_id, class_name, name, kept)

    with depot.writing(shard.name) as aside:
        packed = FORMATS[form][1](aside, pictures(), classes)
        size = aside.stat().st_size
    return (
        shard.images.select("id", "class", "split", "file")
        .with_columns(
            pl.lit(shard.name).alias("shard"),
            pl.Series("entry", [one.entry for one in packed], pl.String),
            pl.Series("start", [one.start for one in packed], pl.Int64),
            pl.Series("bytes", [one.size for one in packed], pl.Int64),
            pl.lit(size, pl.Int64).alias("shard_bytes"),
            pl.Series("png_of", png_of, pl.String),
        )
        .select(pl.col(name).cast(kind) for name, kind in SHARDED.items())
    )


def _index(form: str, classes: Sequence[str], tables: Sequence[pl.DataFrame]) -> bytes:
    """What a stranger must know of the shards, as JSON."""
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for table in tables:
        split, name, size = table.select("split", "shard", "shard_bytes").row(0)
        splits[split].append({"name": name, "images": len(table), "bytes": size})
    known = {
        "format": form,
        "classes": list(classes),
        "images": {split: sum(one["images"] for one in some) for split, some in splits.items()},
        "shards": splits,
    }
    return (json.dumps(known, indent=2, ensure_ascii=False) + "\n").encode()


def _clear(
    folder: Path, depot: Depot, note: ShardNote, to: Place | None, names: Sequence[str]
) -> None:
    """Remove the run's shards that are of no use any more, here and where the others are."""
    for name in sorted({*note.shards.get(str(to or ""), ())} - {*names}):
        depot.remove(name)
    if to is not None:
        for name in (*note.shards.get("", ()), INDEX):
            Depot(folder).remove(name)
    replace(note, shards={}).begin(folder, to, names)
    shutil.rmtree(folder / _PARTS, ignore_errors=True)


def _flat(name: str) -> str:
    return name.replace("/", "-")
