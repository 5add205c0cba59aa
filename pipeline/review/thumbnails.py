"""Small pictures for the page, made once and kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
from pathlib import Path

from PIL import Image

from pipeline.errors import SourceError
from pipeline.files import cache_dir, replacing
from pipeline.pixels import read_bytes, read_pixels

SMALL, LARGE = 320, 1280  # pixels of the longer side
_QUALITY = 84
_SPARE = 4  # see `pipeline.pixels.MARGIN`: the short side keeps half again as many as are shown


def thumbnail(path: Path, image_id: str, size: int, max_pixels: int) -> bytes:
    """Return a JPEG of an image, upright, from the cache where it has been made before.

    Args:
        path: the image.
        image_id: the SHA-256 that its bytes had when it was labeled.
        size: longer side in pixels; smaller images keep their size.
        max_pixels: larger images are refused.

    Raises:
        SourceError: the file is gone, cannot be decoded, or is another picture by now.
    """
    kept = cache_dir() / "thumbnails" / image_id[:2] / f"{image_id}-{size}.jpg"
    with contextlib.suppress(OSError):
        return kept.read_bytes()
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
