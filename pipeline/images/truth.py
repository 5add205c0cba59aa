"""Reading what a person labeled: truth, which only evaluation may see."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipeline.errors import ConfigError, SourceError
from pipeline.images.manifest import MANIFESTS, listed_place, read_manifest
from pipeline.images.scan import scan
from pipeline.images.sources import is_image, walk
from pipeline.pixels import MAX_PIXELS
from pipeline.records import TRUTH, table
from pipeline.storage.address import Place, scheme_of


def read_truth(
    path: Path, max_pixels: int = MAX_PIXELS, beside: Sequence[Path] = ()
) -> tuple[pl.DataFrame, list[str]]:
    """Read a person's labels: folders named by class, or a table with `path` and `class`.

    Args:
        path: `<path>/<class>/…` (the class is the first folder below), or a CSV or Parquet file
            whose paths are relative to it.
        max_pixels: larger images count as unreadable.
        beside: folders in which a table's relative paths are looked for, too.

    Returns:
        A table with the schema `records.TRUTH`, a row for each picture, and a sentence for each
        file that cannot be used.

    Raises:
        ConfigError: there is no truth at that place.
        SourceError: it cannot be read, or one picture has two classes.
    """
    labeled = labeled_files(path, beside)
    scanned = scan([file for file, _ in labeled], max_pixels=max_pixels)
    problems = []
    seen: dict[str, tuple[str, str]] = {}
    for row, (_, name) in zip(scanned.iter_rows(named=True), labeled, strict=True):
        if row["status"] == "unreadable":
            problems.append(f"{row['path']} cannot be used as truth. {row['reason']}")
            continue
        place, earlier = seen.setdefault(row["id"], (row["path"], name))
        if earlier != name:
            raise SourceError(
                f"{place} and {row['path']} are the same picture, labeled {earlier!r} and "
                f"{name!r}. Remove one of them."
            )
    if not seen:
        raise SourceError(
            f"None of the {len(labeled):,} images that {path} names can be read. "
            + (problems[0] if problems else "")
        )
    found = [
        {"id": image_id, "path": place, "class": class_name}
        for image_id, (place, class_name) in seen.items()
    ]
    return table(found, TRUTH), problems


def labeled_files(path: Path, beside: Sequence[Path] = ()) -> list[tuple[Place, str]]:
    """Return each file that a person has labeled, and its class. No image is opened.

    Raises:
        ConfigError: there is no truth at that place.
        SourceError: its folders or its table are not as they should be.
    """
    if path.is_dir():
        return _labeled_folders(path)
    if path.is_file() and path.suffix.lower() in MANIFESTS:
        rows = read_manifest(path, ("path", "class"))
        return [
            (_locate(path, row["path"], beside, number), row["class"])
            for number, row in enumerate(rows, 1)
        ]
    what = "is no labeled folder, CSV or Parquet file" if path.exists() else "does not exist"
    raise ConfigError(f"The truth {path} {what}. Correct `truth` in the config.")


def _labeled_folders(path: Path) -> list[tuple[Place, str]]:
    labeled: list[tuple[Place, str]] = []
    for file in map(Path, sorted(walk(path), key=os.fsencode)):
        if not is_image(str(file)):
            continue
        inner = file.relative_to(path).parts
        if len(inner) == 1:
            raise SourceError(
                f"{file} lies outside every class folder of the truth. Move it into the folder "
                "named after its class."
            )
        labeled.append((file, inner[0]))
    if not labeled:
        raise SourceError(f"There is no image in the class folders of {path}.")
    return labeled


def _locate(manifest: Path, text: str, beside: Sequence[Path], number: int) -> Place:
    """The file that a row means: beside the table, in one of the run's sources, or an address."""
    if scheme_of(text) is not None:
        return listed_place(manifest, text, number)
    places = [folder / text for folder in (manifest.parent, *beside)]
    return next((place for place in places if place.exists()), places[0])
