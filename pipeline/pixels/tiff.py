"""What Pillow leaves to its caller in a TIFF: which page is the picture, what a sample means."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImagePalette, _imaging
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from pipeline.errors import SourceError
from pipeline.pixels.formats import open_image

_SUBFILE, _OLD_SUBFILE, _BITS, _PHOTOMETRIC = 254, 255, 258, 262
_PLANAR, _COLORMAP, _SUB_PAGES, _SAMPLE_FORMAT = 284, 320, 330, 339
_NOT_THE_PICTURE = 0b101  # a reduced copy, a mask
_WHITE_IS_ZERO = 0
_UNSIGNED, _SIGNED = 1, 2


@cache
def silence_libtiff() -> None:
    """Keep libtiff from printing to stderr, where nobody could tell which file it speaks of.

    What it says is lost, since Pillow does not ask; that it failed is not.
    """
    library = ctypes.CDLL(_imaging.__file__)  # also finds the names in what this depends on
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        setter = getattr(library, name, None)  # None where libtiff is a part of Pillow (Windows)
        if setter is not None:
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)


def full_picture(image: ImageFile, data: bytes) -> ImageFile:
    """Return an opened TIFF at its first page that is the picture, not a thumbnail or a mask.

    The pages below the first one, where cameras put the picture, come after the others. Where all
    say that they are thumbnails, the first one it is.

    Raises:
        SourceError: the picture is there, but stored in a way that is not read here.
    """
    if not isinstance(image, TiffImageFile):
        return image
    silence_libtiff()
    if _is_picture(image):
        return image
    below = image.tag_v2.get(_SUB_PAGES, ())
    number = 0
    while _turn_to(image, number := number + 1):
        if _is_picture(image):
            return image
    for offset in below if isinstance(below, tuple) else (below,):
        # The header says where the first page is.
        first = int(offset).to_bytes(4, "little" if data[:2] == b"II" else "big")
        page = open_image(data[:4] + first + data[8:])
        if isinstance(page, TiffImageFile) and _is_picture(page):
            return page
    image.seek(0)
    return image


def _turn_to(image: TiffImageFile, page: int) -> bool:
    """Go to a page; False where there is none."""
    try:
        image.seek(page)
    except EOFError:
        return False
    except (SyntaxError, KeyError) as error:
        if _is_picture(image):
            raise SourceError(
                f"Only its thumbnail can be read, not the picture itself ({error})."
            ) from error
    return True


def _is_picture(image: TiffImageFile) -> bool:
    kind, old_kind = (image.tag_v2.get(tag, 0) for tag in (_SUBFILE, _OLD_SUBFILE))
    return not (isinstance(kind, int) and kind & _NOT_THE_PICTURE) and old_kind != 2


def mend_tiles(image: TiffImageFile) -> None:
    """Correct how Pillow (13.0) means to unpack some TIFFs, before it does.

    It takes 16-bit samples in planes of their own for 8-bit ones, and samples that libtiff has
    already put into the machine's order of bytes for the file's.
    """
    bits = image.tag_v2.get(_BITS, (1,))[0]
    order = "L" if image.tag_v2.prefix == b"II" else "B"
    for number, tile in enumerate(image.tile):
        stored, *others = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if tile.codec_name == "libtiff":
            meant = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}.get(stored, stored)
        elif image.tag_v2.get(_PLANAR) == 2 and bits == 16 and len(stored) == 1:
            meant = f"{stored};16{order}"
        else:
            continue
        image.tile[number] = tile._replace(args=(meant, *others))


def mend_palette(image: TiffImageFile) -> None:
    """Take a palette whose entries are all below 256 for one of bytes, as libtiff does."""
    entries = image.tag_v2.get(_COLORMAP, ())
    if image.mode in ("P", "PA") and entries and 0 < max(entries) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(entries))
        image.palette.dirty = 1


def typed(image: Image.Image, samples: np.ndarray) -> tuple[np.ndarray, int | None, bool]:
    """Return grey samples (H, W) in the type that the file gives them, the largest one that its
    bits can hold where they fill no type, and whether that is black."""
    if not isinstance(image, TiffImageFile):
        return samples, None, False
    tags: Any = image.tag_v2
    bits, kind = tags.get(_BITS, (1,))[0], tags.get(_SAMPLE_FORMAT, (1,))[0]
    inverted = tags.get(_PHOTOMETRIC, _WHITE_IS_ZERO) == _WHITE_IS_ZERO
    if kind == _SIGNED and bits == 16:
        samples = samples.astype(np.int16)
    elif kind == _UNSIGNED and bits == 32:
        samples = samples.astype(np.int32, copy=False).view(np.uint32)
    odd = kind == _UNSIGNED and bits < 16 and samples.dtype.itemsize == 2
    return samples, 2**bits - 1 if odd else None, inverted
