"""Finding images: folders, globs, manifests, single files, and what counts as a video."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from pipeline.config import SourceConfig
from pipeline.errors import SourceError, describe_os_error
from pipeline.images.video import VIDEO_SUFFIXES, find_videos
from pipeline.pixels import image_suffixes
from pipeline.values import Sampling

MANIFESTS = (".csv", ".parquet")


def sort_sources(
    sources: Sequence[SourceConfig],
) -> tuple[list[Path], list[tuple[Path, Sampling]]]:
    """Tell stills from videos: paths to search for images, and each video with its sampling.

    A file is a video by its suffix, a folder where frames are spoken of, or where it holds videos
    and no image.

    Raises:
        SourceError: a folder of videos holds none.
    """
    stills: list[Path] = []
    videos: list[tuple[Path, Sampling]] = []
    for source in sources:
        path = source.path
        is_video = path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
        if is_video or source.names_frames or (path.is_dir() and _holds_only_videos(path)):
            videos += [(video, source.sampling) for video in find_videos(path)]
        else:
            stills.append(path)
    return stills, videos


def _holds_only_videos(folder: Path) -> bool:
    found = False
    for path in walk(folder):
        if is_image(path):
            return False
        found = found or Path(path).suffix.lower() in VIDEO_SUFFIXES
    return found


def find_images(sources: Sequence[Path]) -> list[str]:
    """Return the image files of folders, globs, manifests and single files, sorted, each once.

    Folders are searched to the bottom for every suffix of `image_suffixes`, in any case; hidden
    files and folders are passed over, linked folders are followed once. A manifest is a CSV or
    Parquet file with a `path` column, relative to the manifest; files that it names are kept even
    where they are missing, so that the scan can say so.

    Raises:
        SourceError: a source does not exist, holds no image, or is of no known kind.
    """
    # Text, not paths: a million of them must fit beside a model.
    found = {path: None for source in sources for path in _one_source(source)}
    return sorted(found, key=os.fsencode)


def _one_source(source: Path) -> Iterable[str]:
    if source.is_dir():
        return _in_folder(source)
    if source.is_file():
        suffix = source.suffix.lower()
        if suffix in MANIFESTS:
            return _in_manifest(source)
        if suffix in image_suffixes():
            return [str(source)]
        raise SourceError(
            f"{source} is neither an image, a folder, nor a manifest (.csv, .parquet) of images."
        )
    if any(sign in str(source) for sign in "*?["):
        matches = glob.iglob(str(source), recursive=True)
        paths = [path for path in matches if os.path.isfile(path) and is_image(path)]
        if not paths:
            raise SourceError(f"The pattern {source} matches no image. Check it for typing errors.")
        return paths
    raise SourceError(f"{source} does not exist. Correct `source` in the config.")


def is_image(name: str) -> bool:
    """Say whether a file's name has an image's suffix and is not hidden."""
    name = os.path.basename(name)
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in image_suffixes()


def _in_folder(folder: Path) -> list[str]:
    images: list[str] = []
    others: Counter[str] = Counter()
    for path in walk(folder):
        if is_image(path):
            images.append(path)
        else:
            others[Path(path).suffix.lower() or Path(path).name] += 1
    if not images:
        seen = ", ".join(suffix for suffix, _ in others.most_common(4))
        other = f"; it holds {others.total():,} other files ({seen})" if others else ""
        raise SourceError(f"There is no image in {folder}{other}. Correct `source` in the config.")
    return images


def walk(folder: Path) -> Iterator[str]:
    """Yield the files below a folder, without hidden ones; each real folder is entered once."""

    def complain(error: OSError) -> None:
        raise SourceError(f"A folder cannot be searched. {describe_os_error(error)}") from error

    entered: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, onerror=complain, followlinks=True):
        state = os.stat(root)
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        # Sorted, so that of two links to one folder it is always the same that counts.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = os.path.join(root, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield path


def _in_manifest(manifest: Path) -> list[str]:
    rows = read_manifest(manifest, ("path",))
    return [str(manifest.parent / row["path"]) for row in rows]


def read_manifest(manifest: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Read the text columns of a CSV or Parquet file; no cell of them may be empty."""
    try:
        if manifest.suffix.lower() == ".parquet":
            frame = pl.read_parquet(manifest)
        else:
            frame = pl.read_csv(manifest, infer_schema=False, encoding="utf8")
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(
            f"{manifest} cannot be read as a table ({reason[:160]}). Save it as UTF-8 CSV or "
            "Parquet."
        ) from error
    frame = frame.rename({name: name.strip().lstrip("\ufeff") for name in frame.columns})
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SourceError(
            f"{manifest} has no column `{missing[0]}`; it has: {', '.join(frame.columns)}. "
            "Rename the column that holds it."
        )
    if frame.is_empty():
        raise SourceError(f"{manifest} lists nothing. Add a row for each image.")
    rows = frame.select(pl.col(name).cast(pl.String).str.strip_chars() for name in columns)
    for number, row in enumerate(rows.iter_rows(named=True), start=1):
        for name in columns:
            if not row[name]:
                raise SourceError(
                    f"{manifest}: row {number} has an empty `{name}`. Fill it in or remove the row."
                )
    return rows.to_dicts()
