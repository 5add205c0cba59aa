"""Finding images, checking and hashing them.

A picture is known by the SHA-256 of its bytes. Scanning opens only headers; what turns out
undecodable when the teacher wants to see it is recorded later, by `with_failures`.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config import Sampling, SourceConfig
from pipeline.errors import SourceError, describe_os_error
from pipeline.pixels import check_header, image_suffixes
from pipeline.records import IMAGES, Progress, no_progress, table
from pipeline.video import VIDEO_SUFFIXES, find_videos

MANIFESTS = (".csv", ".parquet")
_CHUNK = 1 << 20
_AHEAD = 256  # files in flight
_NAMED = 3  # of the bad files, how many a summary names


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
            videos += [(one, source.sampling) for one in find_videos(path)]
        else:
            stills.append(path)
    return stills, videos


def _holds_only_videos(folder: Path) -> bool:
    found = False
    for path in walk(folder):
        if is_image(path.name):
            return False
        found = found or path.suffix.lower() in VIDEO_SUFFIXES
    return found


def find_images(sources: Sequence[Path]) -> list[Path]:
    """Return the image files of folders, globs, manifests and single files, sorted, each once.

    Folders are searched to the bottom for every suffix of `image_suffixes`, in any case; hidden
    files and folders are passed over, linked folders are followed once. A manifest is a CSV or
    Parquet file with a `path` column, relative to the manifest; files that it names are kept even
    where they are missing, so that the scan can say so.

    Raises:
        SourceError: a source does not exist, holds no image, or is of no known kind.
    """
    found: dict[Path, None] = {}
    for source in sources:
        for path in _one_source(source):
            found[path] = None
    return sorted(found, key=os.fsencode)


def _one_source(source: Path) -> list[Path]:
    if source.is_dir():
        return _in_folder(source)
    if source.is_file():
        suffix = source.suffix.lower()
        if suffix in MANIFESTS:
            return _in_manifest(source)
        if suffix in image_suffixes():
            return [source]
        raise SourceError(
            f"{source} is neither an image, a folder, nor a manifest (.csv, .parquet) of images."
        )
    if any(sign in str(source) for sign in "*?["):
        matches = (Path(one) for one in glob.iglob(str(source), recursive=True))  # noqa: PTH207 - absolute
        paths = [path for path in matches if path.is_file() and is_image(path.name)]
        if not paths:
            raise SourceError(f"The pattern {source} matches no image. Check it for typing errors.")
        return paths
    raise SourceError(f"{source} does not exist. Correct `source` in the config.")


def is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in image_suffixes()


def _in_folder(folder: Path) -> list[Path]:
    images: list[Path] = []
    others: Counter[str] = Counter()
    for path in walk(folder):
        if is_image(path.name):
            images.append(path)
        else:
            others[path.suffix.lower() or path.name] += 1
    if not images:
        seen = ", ".join(suffix for suffix, _ in others.most_common(4))
        other = f"; it holds {others.total():,} other files ({seen})" if others else ""
        raise SourceError(f"There is no image in {folder}{other}. Correct `source` in the config.")
    return images


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, without hidden ones; each real folder is entered once."""

    def complain(error: OSError) -> None:
        raise SourceError(f"A folder cannot be searched. {describe_os_error(error)}") from error

    entered: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, onerror=complain, followlinks=True):
        state = Path(root).stat()
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        # Sorted, so that of two links to one folder it is always the same that counts.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _in_manifest(manifest: Path) -> list[Path]:
    rows = read_manifest(manifest, ("path",))
    return [manifest.parent / row["path"] for row in rows]


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


def scan(
    paths: Sequence[Path],
    known: pl.DataFrame | None = None,
    *,
    progress: Progress = no_progress,
    max_pixels: int = 100_000_000,
) -> pl.DataFrame:
    """Hash and check files on threads; return a table with the schema `records.IMAGES`.

    A file whose path, size and modification time are those of `known`, the last scan's table,
    keeps its id without being read again. Its header is looked at again only where it was
    unreadable, since `max_pixels` may have been raised; a file that failed to decode stays failed.

    Of several files with the same bytes the first, by path, is "ok" and the others "duplicate".
    """
    remembered = _remembered(known)

    def look(path: Path) -> dict[str, Any]:
        return _look(path, remembered, max_pixels)

    rows = []
    for row in _on_threads(look, paths):
        rows.append(row)
        progress(len(rows), len(paths))
    first: dict[str, str] = {}
    for row in rows:
        if row["status"] != "ok":
            continue
        if row["id"] in first:
            row |= {
                "status": "duplicate",
                "reason": f"It has the same bytes as {first[row['id']]}.",
            }
        else:
            first[row["id"]] = row["path"]
    return table(rows, IMAGES)


def _remembered(known: pl.DataFrame | None) -> dict[tuple[str, int, int], dict[str, Any]]:
    if known is None:
        return {}
    return {
        (row["path"], row["bytes"], row["mtime_ns"]): row
        for row in known.filter(pl.col("id").is_not_null()).iter_rows(named=True)
    }


def _look(
    path: Path, remembered: Mapping[tuple[str, int, int], dict[str, Any]], max_pixels: int
) -> dict[str, Any]:
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    row: dict[str, Any] = dict.fromkeys(IMAGES) | {"path": shown, "status": "unreadable"}
    if shown != str(path):
        return row | {"reason": "Its name is not valid UTF-8; rename it."}
    try:
        state = path.stat()
        row |= {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns}
        before = remembered.get((shown, state.st_size, state.st_mtime_ns))
        row["id"] = before["id"] if before else _sha256(path)
        if before is None or before["status"] == "unreadable":
            check_header(path, max_pixels)
        if before is not None and before["status"] == "unreadable":
            decodes_now = "max_pixels" in (before["reason"] or "")
            if not decodes_now:
                return row | {"reason": before["reason"]}
    except OSError as error:
        return row | {"reason": _os_reason(error)}
    except SourceError as error:
        return row | {"reason": str(error)}
    return row | {"status": "ok"}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _os_reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "There is no such file."
    if isinstance(error, PermissionError):
        return "Reading it is not permitted."
    return f"It cannot be read ({error.strerror or type(error).__name__})."


def _on_threads(
    work: Callable[[Path], dict[str, Any]], paths: Sequence[Path]
) -> Iterator[dict[str, Any]]:
    """Yield `work(path)` in order, with a bounded number of files in flight."""
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2), "scan") as pool:
        ahead: deque[Future[dict[str, Any]]] = deque()
        try:
            for path in paths:
                ahead.append(pool.submit(work, path))
                if len(ahead) >= _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def with_failures(images: pl.DataFrame, failures: Mapping[str, str]) -> pl.DataFrame:
    """Mark images that turned out undecodable, id → reason, and their duplicates with them."""
    if not failures:
        return images
    failed = pl.col("id").is_in(list(failures))
    reasons = pl.col("id").replace_strict(dict(failures), default=None, return_dtype=pl.String)
    return images.with_columns(
        status=pl.when(failed).then(pl.lit("unreadable")).otherwise("status"),
        reason=pl.when(failed).then(reasons).otherwise("reason"),
    )


def with_damaged(images: pl.DataFrame, damaged: Mapping[Path, str]) -> pl.DataFrame:
    """Add a row for each video that could not be read, or not wholly."""
    rows = [
        dict.fromkeys(IMAGES) | {"path": str(path), "status": "unreadable", "reason": why}
        for path, why in damaged.items()
    ]
    return pl.concat([images, table(rows, IMAGES)]) if rows else images


def describe(images: pl.DataFrame) -> str:
    """Return the scan's outcome as one line; the first few unreadable files are named."""
    counts = dict(images.group_by("status").len().iter_rows())
    parts = [f"{counts.get('ok', 0):,} usable"]
    if duplicates := counts.get("duplicate", 0):
        parts.append(f"{duplicates:,} exact duplicate{'s' if duplicates > 1 else ''}")
    if unreadable := counts.get("unreadable", 0):
        bad = images.filter(pl.col("status") == "unreadable").head(_NAMED)
        named = [f"{Path(path).name}: {why}" for path, why in bad.select("path", "reason").rows()]
        more = " …" if unreadable > _NAMED else ""
        parts.append(f"{unreadable:,} unreadable ({' '.join(named)}{more})")
    return f"Found {len(images):,} image{'s' if len(images) != 1 else ''}: {', '.join(parts)}."
