"""The folder dataset: class folders in every split, each image under a name of its own."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from PIL import Image

from pipeline.errors import SourceError
from pipeline.files import replacing
from pipeline.listener import Progress, no_progress
from pipeline.pixels import MAX_PIXELS, read_rgb
from pipeline.records import SPLITS

# What torchvision's ImageFolder, ultralytics and supervision all list and open.
_COMMON_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
_SUFFIX_OF_FORMAT = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp"}


def export_dataset(
    plan: pl.DataFrame,
    classes: Sequence[str],
    folder: Path,
    *,
    files: str = "link",
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> None:
    """Write `folder/{train,valid,test}/<class>/…`, replacing an earlier export in one step.

    Bytes are hard-linked where the file system allows it and copied elsewhere, never re-encoded.
    Formats that dataset readers pass over in silence (GIF, AVIF, …) are the exception: they arrive
    as a PNG of exactly the pixels the teacher saw, since their bytes would not arrive at all.

    Args:
        plan: what `plan_dataset` decided.
        classes: every one gets a folder in every split, with images or without.
        files: "link" or "copy".

    Raises:
        SourceError: a source image has vanished or cannot be read any more.
    """
    with replacing(folder) as aside:
        for split in SPLITS:
            for name in classes:
                (aside / split / name).mkdir(parents=True)
        for done, (path, file) in enumerate(plan.select("path", "file").iter_rows(), start=1):
            source, target = Path(path), aside / file
            place_image(source, target, max_pixels, copy=files == "copy")
            progress(done, len(plan))


def place_image(source: Path, target: Path, max_pixels: int, copy: bool = False) -> None:
    """Put an image's bytes at `target`, or its pixels as PNG where dataset readers know no better.

    Raises:
        SourceError: it has vanished or cannot be read any more.
    """
    try:
        if target.suffix == ".png" and _true_suffix(source) is None:
            read_rgb(source, max_pixels).save(target)
        elif copy or not _link(source, target):
            shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise SourceError(
            f"{source} was labeled but is not there any more. Run `clip2yolo label` again."
        ) from error


def file_name(path: Path, image_id: str) -> str:
    """Return a name people recognize, made unique by the content, as `IMG_1-3f0a9c….jpg`."""
    stem = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", path.stem).strip(" .")
    # File systems count bytes: 60 characters of some scripts are more than a name may have.
    stem = stem[:60].encode()[:150].decode("utf-8", "ignore") or "image"
    return f"{stem}-{image_id[:12]}{_true_suffix(path) or '.png'}"


def _true_suffix(path: Path) -> str | None:
    """The suffix to keep the bytes under, or None where dataset readers know none for them."""
    suffix = path.suffix.lower()
    if suffix in _COMMON_SUFFIXES:
        return suffix
    try:
        with Image.open(path) as image:
            return _SUFFIX_OF_FORMAT.get(image.format or "")
    except FileNotFoundError as error:
        raise SourceError(
            f"{path} was labeled but is not there any more. Run `clip2yolo label` again."
        ) from error


def _link(source: Path, target: Path) -> bool:
    """Hard-link; False where this file system, or its rules, do not allow it."""
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EMLINK):
            return False
        raise
    return True
