"""Small pictures for the page, made once and kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.errors import SourceError
from pipeline.files import cache_dir, let_go, replacing
from pipeline.pixels import read_bytes, read_pixels
from pipeline.storage.address import Place, is_file_place

SMALL, LARGE = 320, 1280  # pixels of the longer side
_QUALITY = 84
_LARGEST = 2 << 30  # bytes of an image file
_SPARE = 4  # see `pipeline.pixels.MARGIN`: the short side keeps half again as many as are shown


@dataclass(frozen=True)
class Kept:
    """The small pictures in the cache folder."""

    folder: Path
    pictures: int
    size: int  # bytes
    used: float  # seconds since 1970 when one was last shown


def thumbnail(path: Place, image_id: str, size: int, max_pixels: int) -> bytes:
    """Return a JPEG of an image, upright, from the cache where it has been made before.

    Args:
        path: of the image, see `pipeline.storage`.
        image_id: the SHA-256 that its bytes had when it was labeled.
        size: longer side in pixels; smaller images keep their size.
        max_pixels: larger images are refused.

    Raises:
        SourceError: the file is gone, is no file any more, is too large, cannot be decoded, or is
            another picture by now.
    """
    kept = _folder() / image_id[:2] / f"{image_id}-{size}.jpg"
    with contextlib.suppress(OSError):
        found = kept.read_bytes()
        os.utime(_folder())  # whoever clears the cache sees what is in use
        return found
    if is_file_place(path) and (file := Path(path)).exists():  # by now it may be anything
        if not file.is_file():  # to read a pipe takes for ever
            raise SourceError("It is no file any more.")
        if file.stat().st_size > _LARGEST:
            raise SourceError("The file is too large to be shown.")
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != image_id:
        raise SourceError("The file has changed since it was labeled.")
    # A large JPEG is decoded at a part of its size, with a multiple of these pixels.
    image = Image.fromarray(read_pixels(data, max_pixels, size // _SPARE).array)
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    made = io.BytesIO()
    image.save(made, "JPEG", quality=_QUALITY)
    # Where the disk takes no more, it is made again the next time.
    with contextlib.suppress(OSError), replacing(kept) as aside:
        aside.write_bytes(made.getvalue())
    return made.getvalue()


def kept_thumbnails() -> Kept | None:
    """Say what is kept of them; None where there are none."""
    folder = _folder()
    if not folder.is_dir():
        return None
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Kept(folder, len(sizes), sum(sizes), folder.stat().st_mtime)


def clear_thumbnails() -> None:
    """Remove all of them; what is shown again is made again."""
    let_go(_folder())


def _folder() -> Path:
    return cache_dir() / "thumbnails"
