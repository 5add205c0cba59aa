"""Example images: pictures that a person gives as what a class looks like."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from pipeline.config import Config, SourceConfig
from pipeline.errors import SourceError
from pipeline.files import fingerprint
from pipeline.images.scan import scan
from pipeline.images.sources import Found, find_sources
from pipeline.records import EXAMPLES, table


@dataclass(frozen=True)
class Examples:
    """A config's example images."""

    table: pl.DataFrame  # with the schema `records.EXAMPLES`: each picture once, readable so far
    notes: list[str] = field(default_factory=list)  # a sentence for what was left out

    @property
    def digest(self) -> str:
        """Names the pictures and their classes by content, wherever they lie."""
        pairs = self.table.select("class", "id").sort("class", "id")
        return fingerprint(pairs.rows()) if len(pairs) else ""


def read_examples(config: Config) -> Examples:
    """Find and hash the example images of a config. A place is searched as a source is: a folder to
    its bottom, a glob, a single picture, a CSV or Parquet file with a `path` column.

    Raises:
        SourceError: a place does not exist, holds no picture or is what the run has made itself;
            a film is given; no picture of a class can be read; one picture is given for two
            classes.
    """
    rows: list[dict[str, str]] = []
    notes: list[str] = []
    first: dict[str, tuple[str, str]] = {}
    for name, places in config.examples.items():
        class_name = unicodedata.normalize("NFC", name)
        found = _pictures(config, name, places, notes)
        scanned = scan(found.images, states=found.states, max_pixels=config.max_pixels)
        bad = scanned.filter(pl.col("status") == "unreadable")
        problems = [
            f"{path} is no example. {why}" for path, why in bad.select("path", "reason").rows()
        ]
        for image_id, path in scanned.filter(pl.col("status") == "ok").select("id", "path").rows():
            place, earlier = first.setdefault(image_id, (path, class_name))
            if earlier != class_name:
                raise SourceError(
                    f"{place} and {path} are the same picture, given as an example of {earlier!r} "
                    f"and of {class_name!r}. Remove one of them."
                )
            rows.append({"id": image_id, "path": path, "class": class_name})
        if len(bad) == len(scanned):
            raise SourceError(
                f"No picture of `examples.{name}` can be read. {problems[0].split('example. ')[1]}"
            )
        notes += problems
    return Examples(table(rows, EXAMPLES), notes)


def _pictures(config: Config, name: str, places: list[Path | str], notes: list[str]) -> Found:
    """The pictures of one class; what lies beside them is noted."""
    key = f"examples.{name}"
    sources = [SourceConfig(path=path) for path in places]
    found = find_sources(sources, config.workspace, key)
    if found.films:
        raise SourceError(
            f"`{key}` names the film {found.films[0][0]}. An example is a picture: save the frame "
            "that shows the class, and name that."
        )
    notes += [f"`{key}`: {sentence}" for sentence in found.sentences()]
    return found
