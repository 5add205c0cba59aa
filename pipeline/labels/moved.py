"""Files that a person has moved between the class folders of `dataset/`: each is a decision.

The folder is compared with the table that was written into it, which says where every file was put
and how large it was. Files are known by their names, which hold a part of the image's id.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipeline.errors import ConfigError
from pipeline.records import DATASET, EXPORTED, EXPORTED_FILE, SHARDS_MADE, SPLITS, read_table
from pipeline.run.workspace import Workspace

# What systems and tools leave in folders: not a person's, and nobody misses it.
_JUNK_FILES = {"Thumbs.db", "desktop.ini", ".DS_Store"}
_JUNK_FOLDERS = {".ipynb_checkpoints", "__pycache__", "__MACOSX", "@eaDir"}
_FOUND = {"file": pl.String, "name": pl.String, "size": pl.Int64}


@dataclass(frozen=True)
class FolderState:
    """The dataset's folder beside its table."""

    moved: pl.DataFrame  # columns id, was (its class), class and split, where a person has put it
    doubled: list[str]  # files that lie in a second place, too
    missing: list[str]  # files that are nowhere
    damaged: list[str]  # files whose size is not what was written
    foreign: list[str]  # files that are not of the dataset, below the folder

    @property
    def whole(self) -> bool:
        """Whether every file is where and as it was written."""
        return self.moved.is_empty() and not self.missing and not self.damaged


def look_at_folder(workspace: Workspace) -> FolderState | None:
    """Compare the dataset's folder with its table; None where there is no dataset yet, or one of
    shards, in which nobody can move anything."""
    plan = exported(workspace)
    if plan is None:
        return None
    found = files_below(workspace.dataset)
    plan = plan.with_columns(name=pl.col("file").str.split("/").list.last())
    at_home = plan.join(found.select("file", "size"), "file", "left", maintain_order="left")
    there = pl.col("size").is_not_null()
    wrong = (pl.col("size") != pl.col("bytes")) | (pl.col("size") == 0)
    away = at_home.filter(~there)
    elsewhere = found.join(plan, "file", "anti").select("name", now="file")
    placed = elsewhere.with_columns(
        pl.col("now").str.split("/").list.get(0).alias("at"),
        pl.col("now").str.split("/").list.get(1, null_on_oob=True).alias("in"),
        pl.col("now").str.split("/").list.len().alias("depth"),
    ).filter((pl.col("depth") == len(("split", "class", "name"))) & pl.col("at").is_in(SPLITS))
    once = placed.filter(~pl.col("name").is_duplicated())
    moved = away.join(once, "name", maintain_order="left")
    return FolderState(
        moved=moved.select(
            "id", pl.col("class").alias("was"), pl.col("in").alias("class"), split="at"
        ),
        doubled=elsewhere.join(at_home.filter(there), "name", "semi")["now"].to_list(),
        missing=away.join(moved, "name", "anti")["file"].to_list(),
        damaged=at_home.filter(there & wrong.fill_null(False))["file"].to_list(),
        foreign=elsewhere.join(plan, "name", "anti")["now"].to_list(),
    )


def exported(workspace: Workspace) -> pl.DataFrame | None:
    """Return what was written into the dataset's folder, with the schema `records.EXPORTED`; None
    where there is no dataset yet, or one of shards."""
    if (workspace.dataset / SHARDS_MADE).is_file():
        return None
    inside = workspace.dataset / EXPORTED_FILE
    if inside.is_file():
        return read_table(inside, EXPORTED, "label")
    if not workspace.dataset_table.is_file() or not workspace.dataset.is_dir():
        return None
    table = read_table(workspace.dataset_table, DATASET, "label")  # of an earlier version
    return table.with_columns(bytes=pl.lit(None, pl.Int64)).select(list(EXPORTED))


def moved_by_hand(state: FolderState | None, classes: Sequence[str]) -> dict[str, str]:
    """Return image id → class for the files that lie in another class folder than they were put.

    Raises:
        ConfigError: one lies in a folder that is no class.
    """
    if state is None:
        return {}
    moved = state.moved.filter(pl.col("class") != pl.col("was"))
    unknown = moved.filter(~pl.col("class").is_in(list(classes)))
    if not unknown.is_empty():
        split, name = unknown.select("split", "class").row(0)
        raise ConfigError(
            f"Files of the dataset were moved to {split}/{name}, and the ontology has no class "
            f"{name!r} ({', '.join(classes)}). Add a prompt for it, or move them back."
        )
    return dict(moved.select("id", "class").iter_rows())


def files_below(folder: Path) -> pl.DataFrame:
    """Every file below the folder, junk aside: its place `file`, with slashes, its name and size.

    Names, places and sizes as lists: a million files are looked through in seconds.
    """
    names: list[str] = []
    places: list[str] = []
    sizes: list[int] = []
    open_ = [(str(folder), "")]
    while open_:
        path, below = open_.pop()
        try:
            entries = os.scandir(path)
        except OSError:  # gone in this moment, or not to be looked into
            continue
        with entries:
            for entry in entries:
                name = entry.name
                if entry.is_dir(follow_symlinks=False):
                    if name not in _JUNK_FOLDERS:
                        open_.append((entry.path, f"{below}{name}/"))
                elif name not in _JUNK_FILES and name != EXPORTED_FILE and name[-6:] != ".cache":
                    names.append(name)
                    places.append(below + name)
                    sizes.append(entry.stat(follow_symlinks=False).st_size)
    return pl.DataFrame({"file": places, "name": names, "size": sizes}, schema=_FOUND)
