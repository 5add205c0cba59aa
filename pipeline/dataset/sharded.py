"""A dataset that lies in shards: where each image is, and whether all of it is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import polars as pl

from pipeline.errors import WorkspaceError
from pipeline.files import write_json
from pipeline.labels.moved import files_below
from pipeline.records import SHARDED, SHARDED_FILE, SHARDS_MADE, read_table
from pipeline.run.workspace import Workspace
from pipeline.storage.address import Place, is_address, member
from pipeline.storage.depot import Depot

INDEX = "shards.json"
# Only what is called so is ever removed, whatever a note says that came with somebody's run.
_SHARD = re.compile(r"(train|valid|test)/\d{6,}-[0-9a-f]{16}\.(tar|parquet)")


@dataclass(frozen=True)
class ShardNote:
    """What a run has noted of its shards, in the folder of its dataset, before it writes any."""

    run: str  # names the run, also at other places that it writes to
    to: str | None  # where the dataset lies; None: in that folder
    shards: dict[str, list[str]]  # place, "" for that folder → all that the run has made there

    def begin(self, folder: Path, to: Place | None, names: Iterable[str]) -> None:
        """Note that these shards are about to be made at a place."""
        place = str(to or "")
        known = self.shards | {place: sorted({*self.shards.get(place, ()), *names})}
        ShardNote(self.run, place or None, known).write(folder)

    def left_behind(self, to: Place | None) -> list[str]:
        """Say at which places besides this one and the run's own folder shards lie that the run has
        made: it deletes nothing there."""
        return [
            f"The shards of an earlier export stay in {place}; delete them if nobody needs them."
            for place, names in self.shards.items()
            if names and place not in ("", str(to or ""))
            if is_address(place) or Path(place).is_dir()
        ]

    def write(self, folder: Path) -> None:
        """Replace the note."""
        write_json(folder / SHARDS_MADE, vars(self))


def read_note(folder: Path) -> ShardNote | None:
    """Return what is noted in a dataset's folder; None where there are no shards.

    Raises:
        WorkspaceError: it is damaged.
    """
    try:
        known = json.loads((folder / SHARDS_MADE).read_text("utf-8"))
        shards = {
            str(place): [name for name in some if _SHARD.fullmatch(name)]
            for place, some in known["shards"].items()
        }
        return ShardNote(str(known["run"]), known["to"] and str(known["to"]), shards)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WorkspaceError(
            f"{folder / SHARDS_MADE} is damaged. Delete {folder} and run `clip2yolo label` again."
        ) from None


@dataclass(frozen=True)
class Sharded:
    """A dataset of shards that was written whole."""

    table: pl.DataFrame  # with the schema `records.SHARDED`
    depot: Depot  # where the shards lie

    def lacking(self) -> list[str]:
        """Return the places of shards that are not there, or not of the size that they had.

        Raises:
            SourceError: the store cannot be asked.
        """
        there = self.depot.sizes()
        shards = self.table.select("shard", "shard_bytes").unique(maintain_order=True)
        return [self.depot.place(name) for name, size in shards.rows() if there.get(name) != size]

    def places(self, here: Mapping[str, str] = MappingProxyType({})) -> dict[str, Place]:
        """Return where the bytes of each image are: file of dataset.parquet → place.

        Args:
            here: places of shards that lie elsewhere, too, and are to be read there, by name.
        """
        columns = self.table.select("file", "shard", "entry", "start", "bytes")
        at = {name: here.get(name, self.depot.place(name)) for name in columns["shard"].unique()}
        return {
            file: member(at[shard], entry, start, size)
            for file, shard, entry, start, size in columns.iter_rows()
        }


def read_sharded(workspace: Workspace) -> Sharded | None:
    """Return a run's dataset, where it is one of shards; None where it is not.

    Raises:
        WorkspaceError: it was not written to its end, or what is noted of it is damaged.
    """
    note = read_note(workspace.dataset)
    if note is None:
        return None
    table = read_table(workspace.dataset / SHARDED_FILE, SHARDED, "label")
    return Sharded(table, Depot(note.to or workspace.dataset))


def foreign_files(folder: Path) -> list[str]:
    """Return the files below a dataset's folder that are none of its shards, nor about them."""
    note = read_note(folder)
    if note is None:
        return []
    ours = {INDEX, SHARDED_FILE, SHARDS_MADE, *note.shards.get("", ())}
    found: list[str] = files_below(folder)["file"].to_list()
    return [file for file in found if file not in ours and not file.startswith(".clip2yolo.")]
