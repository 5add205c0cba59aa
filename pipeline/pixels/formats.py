"""Which formats are read, by which suffixes they are found, and which reader takes a file."""

from __future__ import annotations

import io
import re
import struct
from functools import cache

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from pipeline.errors import SourceError

# Opened by Pillow and yet not for us: EPS and WMF run an interpreter over the file, the others
# are containers whose pictures Pillow does not decode.
_NO_PICTURES = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5", "IPTC", "PDF"}

# pi-heif takes most of a second to import, so that its suffixes stand here, and it is loaded when
# the first file in its container comes. Sequences (.heics, .heifs) are films.
_HEIF = "HEIF"
_HEIF_SUFFIXES = {".heic", ".heif", ".hif"}

# A library's source file and line, another path, a number for an error, Python's own: they say
# nothing to a user.
_NO_WORDS = re.compile(r"\w*[/\\][\w./\\-]+|\.(c|cc|cpp|h|py)\b|error -?\d|decoder object|^unpack ")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(sorted(set(Image.OPEN) - _NO_PICTURES - {_HEIF}))


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes, lower case and with their dot, of every format that is read here."""
    formats = set(_formats())
    known = {
        suffix.lower() for suffix, name in Image.registered_extensions().items() if name in formats
    }
    return frozenset(known | _HEIF_SUFFIXES)


@cache
def _with_heif() -> tuple[str, ...]:
    """All formats, after HEIF has been given to Pillow; doing that twice changes nothing."""
    import pi_heif

    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return (*_formats(), _HEIF)


def open_image(data: bytes) -> ImageFile:
    """Return an image with only its header read, by the first format that takes it.

    `Image.open` is not asked: its limit of pixels knows nothing of decoding a JPEG smaller, and
    ultralytics, once imported, replaces it by one that looks for packages to install (8.4.190,
    ultralytics/utils/patches.py).

    Raises:
        UnidentifiedImageError: no format knows it.
        SourceError: one does, but not what is in it.
    """
    refused = None
    formats = _with_heif() if data[4:8] == b"ftyp" else _formats()
    if data[:3] == b"\xff\xd8\xff":  # most files; some of the others take a while to see what it is
        formats = ("JPEG", *formats)
    for name in formats:
        factory, accept = Image.OPEN[name]
        taken: bool | str = False
        try:
            taken = accept is None or accept(data[:16])
            if taken and not isinstance(taken, str):  # a string: known, but its library is missing
                return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            if accept is not None and taken:
                refused = name, in_words(error)
    if refused is None:
        raise UnidentifiedImageError
    name, reason = refused
    raise SourceError(
        f"It looks like {name}, and is damaged or of a kind that is not read ({reason})."
    )


def in_words(error: Exception) -> str:
    """Return a decoder's reason, where it is one; what Python or C says of itself is none."""
    text = " ".join(str(error).split())
    meant = isinstance(error, (OSError, SyntaxError, EOFError)) or type(error) is ValueError
    if not text or not meant or _NO_WORDS.search(text):
        return "a part of it makes no sense"
    return (text if len(text) < 120 else text[:120].rpartition(" ")[0] + " …").rstrip(". ")
