"""JPEGs: decoded strictly, and at a part of their size where that is enough.

Pillow's decoder and torchvision's go on after damage, with shifted colors or grey, and keep what
libjpeg said about it to themselves or print it. simplejpeg's raises on the first warning, with the
same pixels as Pillow's, and in half the time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL.Image import Image

from pipeline.errors import SourceError

SCALES = (1, 2, 4, 8)  # that the decoder knows: 8 gives an eighth of each side

# The short side of a picture that is decoded smaller only because of `max_pixels` keeps at least
# this many pixels, whatever is needed of it later: more than the models here take.
LEAST = 640

# What libjpeg says where pixels are wrong. Anything else is about headers, or of the sort that this
# decoder does not know, and Pillow is asked.
_WRONG = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")
_LEFT_OVER = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")

_END = b"\xff\xd9"
# In the compressed data of a scan, what is neither a stuffed byte nor a restart.
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
# Markers between the scans of one picture, by their second byte: tables, comments, applications.
_WITHIN = {0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
# JFIF's and Adobe's segments (0xE0, 0xEE) say how colors are stored, these nothing of the kind.
_METADATA = {*range(0xE1, 0xF0), 0xFE} - {0xEE}


def is_jpeg(image: Image) -> bool:
    """Tell whether the first picture of a file, as Pillow has opened it, is a JPEG's."""
    return image.format in ("JPEG", "MPO")


def fitting_scale(size: tuple[int, int], least: int) -> int:
    """Return the strongest of `SCALES` that leaves the short side at least `least` pixels."""
    enough = least / min(size)
    if enough > 0.5:
        return 1
    fits = min(side // math.ceil(side * enough) for side in size)
    return max(scale for scale in SCALES if scale <= fits)


def reduction(image: Image, data: bytes, max_pixels: int) -> int:
    """Return the mildest of `SCALES` that keeps a JPEG within `max_pixels`; 1 where none does.

    A picture in one scan is decoded row by row, so that memory is needed for what comes out only.
    One in several scans, as progressive ones are, is held whole before any of it comes out (4 to 6
    bytes a pixel), and never counts for less than it is.
    """
    width, height = image.size
    if width * height <= max_pixels:
        return 1
    for scale in SCALES[1:]:
        across, down = -(-width // scale), -(-height // scale)
        if across * down <= max_pixels and min(across, down) >= LEAST:
            return scale if _in_one_scan(data) else 1
    return 1


def decode(image: Image, data: bytes, scale: int) -> np.ndarray | None:
    """Return the pixels, (H, W, 3) bytes, as stored; None where Pillow must decode them.

    Raises:
        SourceError: the picture is damaged. Bytes after it, a missing end marker, and padding
            before the end marker that repeats one byte are no damage.
    """
    width, height = image.size
    size = (-(-width // scale), -(-height // scale))
    colors = "RGB" if image.mode in ("RGB", "L") else "CMYK"
    try:
        pixels = _strictly(data, size, scale, colors)
    except ValueError:
        again = _again(data, size, scale, colors)
        if again is None:
            return None
        pixels = again
    return pixels if colors == "RGB" else None  # Pillow knows which CMYK is inverted


def _strictly(
    data: bytes, size: tuple[int, int], scale: int, colors: str, strict: bool = True
) -> np.ndarray:
    pixels: np.ndarray = simplejpeg.decode_jpeg(
        data, colors, min_width=size[0], min_height=size[1], min_factor=scale, strict=strict
    )
    return pixels


def _again(data: bytes, size: tuple[int, int], scale: int, colors: str) -> np.ndarray | None:
    """Decode after a complaint: the picture alone, with an end marker."""
    picture, ended = _picture_in(data)
    try:
        return _strictly(picture, size, scale, colors)
    except ValueError as error:
        complaint = str(error)
    # All pixels were there, and bytes are left. After a shift inside, those are the picture's last
    # ones; else padding, or what a camera wrote after a picture without end marker.
    left = _LEFT_OVER.match(complaint)
    if left and (not ended or len(set(picture[-2 - int(left[1]) : -2])) <= 1):
        return _strictly(picture, size, scale, colors, strict=False)
    if not complaint.startswith(_WRONG):
        return None
    reason = complaint.removeprefix("Corrupt JPEG data: ")
    raise SourceError(f"It is damaged ({reason}).")


def _picture_in(data: bytes) -> tuple[bytes, bool]:
    """The first picture from its tables to an end marker, and whether that was there.

    Of the header, only what changes pixels: junk between its segments, and metadata that make no
    sense, are no damage.
    """
    kept = [data[:2]]
    for code, start, body in _segments(data):
        end = body - 2 + int.from_bytes(data[body - 2 : body], "big")
        if code == _SCAN:
            last, ended = _last_of_picture(data)
            return b"".join(kept) + data[start:last] + _END, ended
        if code in _WITHIN | _FRAMES and code not in _METADATA:
            kept.append(data[start:end])
    return data, False


def _last_of_picture(data: bytes) -> tuple[int, bool]:
    """Where the first picture ends, and whether an end marker is there."""
    for code, start, _ in _segments(data):
        if code not in _WITHIN | _FRAMES:
            return start, code == _END[1]
    return len(data), False


def _in_one_scan(data: bytes) -> bool:
    """Whether a JPEG is sequential and its first scan holds all of its colors."""
    colors = 0
    for code, _, body in _segments(data):
        if code in _FRAMES:
            if code not in (0xC0, 0xC1) or body + 5 >= len(data):
                return False
            colors = data[body + 5]
        elif code == _SCAN:
            return body < len(data) and data[body] == colors
    return False


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each marker's second byte, its own position and that of what follows its length; the first
    one that has no length ends it."""
    position = 2
    while found := _MARKER.search(data, position):
        code, start, body = data[found.end() - 1], found.start(), found.end() + 2
        yield code, start, body
        if code not in _WITHIN | _FRAMES:
            return
        position = body - 2 + max(int.from_bytes(data[body - 2 : body], "big"), 2)
