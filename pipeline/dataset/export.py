"""The folder dataset: class folders in every split, each image under a name of its own.

Other tools write into datasets (some re-save JPEGs in place), so what lies here are copies, which
share their blocks with the originals where the file system can do that, and never the originals
themselves unless somebody asks for links.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from PIL import Image, UnidentifiedImageError

from pipeline.errors import SourceError
from pipeline.files import replacing, sha256_of
from pipeline.images.kinds import content_of
from pipeline.listener import Progress, no_progress
from pipeline.pixels import MAX_PIXELS, read_rgb
from pipeline.records import EXPORTED, EXPORTED_FILE, SPLITS
from pipeline.storage.address import Place, is_file_place, name_of
from pipeline.storage.reading import read_bytes, read_each

# What torchvision's ImageFolder, ultralytics, supervision, datasets, FiftyOne and Roboflow all list
# and open: for each content the suffixes it may have, the usual one first.
_COMMON = {
    "jpg": (".jpg", ".jpeg"),
    "png": (".png",),
    "bmp": (".bmp",),
    "webp": (".webp",),
    "tif": (".tif", ".tiff"),
}
_PLAIN_TIFF = {"1", "L", "P", "RGB", "RGBA", "CMYK"}  # modes that every reader reads alike
HEAD = 512  # bytes that tell what a file is
_CLONE = 0x40049409  # FICLONE of linux/fs.h: the copy shares the original's blocks


@dataclass
class Exported:
    """What came of an export, beside the folder."""

    as_png: Counter[str] = field(default_factory=Counter)  # suffix of the originals → files
    unlinked: str | None = None  # why links were asked for and copies made
    left_behind: list[str] = field(default_factory=list)  # sentences about an earlier export

    def sentences(self) -> list[str]:
        """Say what a person would not expect."""
        said = list(self.left_behind)
        if self.as_png:
            kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in self.as_png.most_common())
            said.append(
                f"Written as PNG with the same pixels, since other tools would read them wrongly "
                f"or not at all: {kinds}."
            )
        if self.unlinked:
            said.append(f"No hard links can be made here ({self.unlinked}); files are copied.")
        return said


def export_dataset(
    plan: pl.DataFrame,
    folder: Path,
    *,
    files: str = "copy",
    earlier: Mapping[str, str] | None = None,
    foreign: Sequence[str] = (),
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> Exported:
    """Write `folder/{train,valid,test}/<class>/…`, replacing an earlier export in one step.

    Bytes are copied, never re-encoded. What dataset readers pass over or read wrongly (GIF, AVIF,
    16 bits a sample, …) is the exception: it arrives as a PNG of exactly the pixels that the
    teacher saw. A class has a folder in those splits that hold images of it: some readers refuse
    an empty one.

    Args:
        plan: what `plan_dataset` decided.
        files: "copy", or "link" for hard links to the originals where they can be made.
        earlier: image id → file below `folder` of the export that is replaced; what is unchanged of
            it is taken over without being copied again.
        foreign: files below `folder` that are not of the earlier export and shall stay.

    Raises:
        SourceError: a source image has vanished or cannot be read any more.
    """
    done = Exported()
    kept, sizes = earlier or {}, []
    with replacing(folder) as aside:
        for split in SPLITS:
            (aside / split).mkdir(parents=True)
        rows = plan.select("id", "path", "file").iter_rows()
        for number, (image_id, path, file) in enumerate(rows, start=1):
            target = aside / file
            target.parent.mkdir(exist_ok=True)
            old = folder / kept[image_id] if files == "copy" and image_id in kept else None
            with still_there(path):
                _place(path, image_id, target, old, files, max_pixels, done)
                sizes.append(target.stat().st_size)
            progress(number, len(plan))
        for file in foreign:
            if not (aside / file).exists():
                (aside / file).parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(folder / file, aside / file)
        table = plan.with_columns(bytes=pl.Series(sizes, dtype=pl.Int64))
        table.select(list(EXPORTED)).write_parquet(aside / EXPORTED_FILE)
    return done


def place_image(place: Place, target: Path, max_pixels: int, image_id: str | None = None) -> None:
    """Put a copy of an image at `target`, or its pixels as PNG where readers know no better.

    Raises:
        SourceError: it has vanished or cannot be read any more.
    """
    with still_there(place):
        _place(str(place), image_id, target, None, "copy", max_pixels, Exported())


def file_name(place: Place, image_id: str, head: bytes | Exception | None = None) -> str:
    """Return a name people recognize, made unique by the content, as `IMG_1-3f0a9c….jpg`. Its
    suffix is the content's, whatever the original is called; that of a file that is not there, its
    own.

    Args:
        head: the first `HEAD` bytes, where they have been read; else they are read.
    """
    path = Path(place if is_file_place(place) else name_of(place))
    stem = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", path.stem).strip(" .")
    # File systems count bytes: 60 characters of some scripts are more than a name may have.
    stem = stem[:60].encode()[:150].decode("utf-8", "ignore") or "image"
    try:
        suffix = _kept_suffix(str(place), head) or ".png"
    except FileNotFoundError:  # whoever puts it into its place will say so
        suffix = path.suffix.lower()
    return f"{stem}-{image_id[:12]}{suffix}"


def _place(
    place: str,
    image_id: str | None,
    target: Path,
    old: Path | None,
    files: str,
    max_pixels: int,
    done: Exported,
) -> None:
    if not is_file_place(place):
        _fetch(place, image_id, target, old, max_pixels, done)
        return
    source = Path(place)
    as_png = target.suffix == ".png" and _kept_suffix(place) is None
    if as_png:
        done.as_png[source.suffix.lower() or "without suffix"] += 1
    state = source.stat()
    if old is not None and _is_unchanged(old, state, as_png):
        link_or_copy(old, target)  # our own file of the export that is about to go
        return
    if as_png:
        read_rgb(source, max_pixels).save(target)
    elif files == "link" and done.unlinked is None:
        try:
            os.link(source.resolve(), target)
            return
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            # What a file system answers that knows no links is any of a dozen numbers.
            done.unlinked = error.strerror or type(error).__name__
    if not as_png:
        _copy(source, target)
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))


def _fetch(
    place: str,
    image_id: str | None,
    target: Path,
    old: Path | None,
    max_pixels: int,
    done: Exported,
) -> None:
    """Put what lies in a store or a shard at `target`."""
    if old is not None and old.is_file() and sha256_of(old) == image_id:
        link_or_copy(old, target)
        return
    data, png_of = exported_bytes(place, read_bytes(place), image_id, target.suffix, max_pixels)
    if png_of is not None:
        done.as_png[png_of] += 1
    target.write_bytes(data)


def exported_bytes(
    place: str, data: bytes, image_id: str | None, suffix: str, max_pixels: int
) -> tuple[bytes, str | None]:
    """Return what is exported of an image: its bytes; or its pixels as PNG, and the suffix of the
    original.

    Args:
        place: where its bytes, `data`, were read.
        image_id: of the image that is meant.
        suffix: of the name that it gets.

    Raises:
        SourceError: it is another image by now, or cannot be decoded.
    """
    if image_id is not None and hashlib.sha256(data).hexdigest() != image_id:
        raise SourceError(f"{place} has changed since it was labeled. Run `clip2yolo label` again.")
    if suffix != ".png" or _kept_suffix(place, data) is not None:
        return data, None
    made = io.BytesIO()
    read_rgb(data, max_pixels).save(made, "PNG")
    return made.getvalue(), Path(name_of(place)).suffix.lower() or "without suffix"


def _is_unchanged(old: Path, source: os.stat_result, as_png: bool) -> bool:
    """Whether an exported file is as it was written, with its original's time, and a copy."""
    try:
        state = old.lstat()
    except OSError:
        return False
    if os.path.samestat(state, source):
        return False  # a link, made when links were asked for
    same_size = state.st_size == source.st_size or (as_png and state.st_size > 0)
    return same_size and state.st_mtime_ns == source.st_mtime_ns


def link_or_copy(source: Path, target: Path) -> None:
    """Give one of our own files, of an export that is about to go, a second place."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _copy(source: Path, target: Path) -> None:
    """Copy bytes; where the file system can, both files share them until one is changed."""
    if sys.platform == "linux":
        import fcntl

        try:
            with source.open("rb") as given, target.open("wb") as taken:
                fcntl.ioctl(taken, _CLONE, given.fileno())
                return
        except FileNotFoundError:
            raise
        except OSError:
            pass
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # would name the original
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise


def _kept_suffix(place: str, head: bytes | Exception | None = None) -> str | None:
    """The suffix to keep the bytes under, or None where dataset readers would not read them, or
    not as the teacher did."""
    if head is None:
        (head,) = read_each([place], HEAD)
    if isinstance(head, Exception):
        raise head
    content = content_of(head)
    suffixes = _COMMON.get(content or "")
    if suffixes is None:
        return None
    if content == "png" and head[24:25] == b"\x10":  # 16 bits a sample
        return None
    if content == "tif" and not _is_plain_tiff(place):
        return None
    suffix = Path(name_of(place)).suffix.lower()
    return suffix if suffix in suffixes else suffixes[0]


def _is_plain_tiff(place: str) -> bool:
    try:
        with Image.open(io.BytesIO(read_bytes(place))) as image:
            return image.mode in _PLAIN_TIFF and getattr(image, "n_frames", 1) == 1
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return False


@contextlib.contextmanager
def still_there(path: Place) -> Iterator[None]:
    """Say of an image that has vanished what to do.

    Raises:
        SourceError: it has.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(
            f"{path} was labeled but is not there any more. Run `clip2yolo label` again."
        ) from error
