"""A run that is found at another place: the checkout of another machine, a folder that was renamed.

Tables name files by their whole paths. What lies below the folder of the config is the same file
wherever that folder lies, so stages compare such paths without it, and the tables are corrected
once.
"""

from __future__ import annotations

import os

import polars as pl

from pipeline.files import replacing
from pipeline.run.stage import Run


def without_place(run: Run, paths: pl.Series) -> pl.Series:
    """Return paths as they are seen from the config's folder, those elsewhere unchanged."""
    return paths.str.strip_prefix(f"{run.config.file.parent}{os.sep}")


def settle_in(run: Run) -> None:
    """Have the run's tables name files where they are now. The caller holds the lock."""
    here, before = str(run.config.file.parent), run.workspace.place
    if before is not None and before != here:
        run.listener.say(f"The run was moved here from {before}.")
        space = run.workspace
        for path in (space.images, space.labels, space.dataset_table, space.beliefs):
            if path.is_file():
                table = pl.read_parquet(path, glob=False)
                columns = [name for name in ("path", "video") if name in table.columns]
                moved = table.with_columns(_moved(name, before, here) for name in columns)
                with replacing(path) as aside:
                    moved.write_parquet(aside)
    if before != here:
        run.workspace.note_place(here)


def _moved(column: str, before: str, here: str) -> pl.Expr:
    path = pl.col(column)
    inside = path.str.starts_with(f"{before}{os.sep}")
    below = path.str.strip_prefix(f"{before}{os.sep}")
    return pl.when(inside).then(pl.lit(f"{here}{os.sep}") + below).otherwise(path).alias(column)
