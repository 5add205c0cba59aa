"""What Pillow leaves out of a PNG: the checksums of the pixels, and all of a transparent color."""

from __future__ import annotations

import zlib

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from pipeline.errors import SourceError
from pipeline.pixels.formats import open_image

_SIGNATURE = 8  # bytes


def check(data: bytes) -> None:
    """Compare every chunk with its checksum, the last one being the end.

    Raises:
        SourceError: one differs, or there is no end.
    """
    position = _SIGNATURE
    view = memoryview(data)
    while position + 12 <= len(data):
        length = int.from_bytes(view[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise SourceError("It is damaged (a checksum in it differs).")
        if data[position + 4 : position + 8] == b"IEND":
            return
        position = end + 4
    raise SourceError("It is damaged (it ends too early).")


def depth_of(image: Image.Image) -> str:
    """Return Pillow's name for how a PNG stores its samples ("RGB;16B"), "" once it is loaded."""
    tiles = getattr(image, "tile", None)
    return str(tiles[0].args) if image.format == "PNG" and tiles else ""


def scale_key(image: Image.Image, stored: str) -> None:
    """Put the transparent value of a grey PNG of 2 or 4 bits on the scale of its loaded samples."""
    key = image.info.get("transparency")
    if stored in ("L;2", "L;4") and isinstance(key, int):
        image.info["transparency"] = key * (255 // (2 ** int(stored[-1]) - 1))


def is_key(image: Image.Image, data: bytes | None) -> np.ndarray:
    """Return where (H, W) a loaded PNG of three 16-bit colors has its transparent one.

    Pillow keeps the upper bytes. The lower ones come from reading the file once more, with the
    order of bytes swapped; without the file, the upper ones alone decide.
    """
    key = np.array(image.info["transparency"])
    where = (np.asarray(image) == key >> 8).all(axis=2)
    if data is not None:
        lower: ImageFile = open_image(data)
        lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
        where &= (np.asarray(lower) == key & 255).all(axis=2)
    return np.asarray(where)
