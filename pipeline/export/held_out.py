"""Which images prove an export, and which measure the ranges of its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.files import fingerprint, names_and_hashes
from pipeline.images.truth import read_truth
from pipeline.records import TRUTH
from pipeline.run.stage import Run
from pipeline.student.stage import learned_by

_MOST = 1000  # images that are replayed
_CALIBRATE = 200  # images that ranges are measured on


@dataclass(frozen=True)
class HeldOut:
    """Images that the student has not learned from."""

    paths: list[str]  # places, see `pipeline.storage`
    truth: list[str | None]  # a person's class of each, where one is known


def held_out(run: Run, plan: pl.DataFrame, classes: tuple[str, ...]) -> HeldOut:
    """Return the images of `truth` and of the dataset's test split that the student has not learned
    from, at most a thousand; those with a known class come first.

    Look-alikes of training images are among them: what is compared is two answers on one picture.

    Args:
        run: whose.
        plan: dataset.parquet.
        classes: of the student; images that people call otherwise are left out.

    Raises:
        ConfigError, SourceError: the truth cannot be read.
    """
    tables = [read_truth(path, run.config.max_pixels, _folders(run))[0] for path in _places(run)]
    known = pl.concat([pl.DataFrame(schema=TRUTH), *tables]).unique("id", maintain_order=True)
    learned = learned_by(run, plan)["id"].unique().implode()
    known = known.filter(~pl.col("id").is_in(learned))
    test = plan.filter((pl.col("split") == "test") & ~pl.col("id").is_in(known["id"].implode()))
    known = known.filter(pl.col("class").is_in(list(classes)))
    chosen = _some(known, _MOST)
    others = _some(test.select("path", pl.lit(None, pl.String).alias("class")), _MOST - len(chosen))
    both = pl.concat([chosen.select("path", "class"), others])
    return HeldOut(both["path"].to_list(), both["class"].to_list())


def held_out_digest(run: Run, plan: pl.DataFrame) -> str:
    """Name the images of `held_out` and what people call them, without opening one."""
    test = plan.filter(pl.col("split") == "test")["id"].sort()
    known = []
    for path in _places(run):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        names = [file.relative_to(path.parent).as_posix() for file in files]
        known.append([names, names_and_hashes(files)])
    return fingerprint(test.to_list(), known)


def to_calibrate(plan: pl.DataFrame) -> list[str]:
    """Return some images that the student learned from, evenly over classes as they come."""
    train = plan.filter(pl.col("split") == "train").sort("class", "id")
    return _some(train, _CALIBRATE)["path"].to_list()


def chosen_by(plan: pl.DataFrame) -> list[str]:
    """Return images that the student was chosen by and not trained on, at most a thousand."""
    return _some(plan.filter(pl.col("split") == "valid"), _MOST)["path"].to_list()


def _places(run: Run) -> list[Path]:
    places = (run.config.truth, run.config.pool_truth)
    return [path for path in places if path is not None]


def _folders(run: Run) -> list[Path]:
    places = [source.path for source in run.config.sources]
    return [place for place in places if isinstance(place, Path) and place.is_dir()]


def _some(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most so many of the rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(int).tolist()] if most else rows.clear()
