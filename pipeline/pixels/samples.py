"""Whatever an image's samples are, the 8-bit RGB that a person would see."""

from __future__ import annotations

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from pipeline.pixels import png, tiff

_BYTE, _WORD = 255, 65535


def decoded_rgb(image: Image.Image, data: bytes | None = None) -> Image.Image:
    """Decode an image as Pillow has opened it, from these bytes where they are known, to RGB.

    Raises:
        SourceError: it is damaged.
        Exception: whatever its decoder raises.
    """
    if image.format == "PNG" and data is not None:
        png.check(data)
    if isinstance(image, TiffImageFile):
        tiff.mend_tiles(image)
    stored = png.depth_of(image)
    image.load()
    if isinstance(image, TiffImageFile):
        tiff.mend_palette(image)
    png.scale_key(image, stored)
    if stored == "RGB;16B" and "transparency" in image.info:
        return _over_white(np.array(image), png.is_key(image, data))
    return _to_rgb(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _grey(image)
    if image.has_transparency_data:
        layers = image.convert("LA" if image.mode == "La" else image.mode).convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(white, layers).convert("RGB")
    if image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        turned = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        return turned if turned is not None else image.convert("RGB")
    return image.convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    """Samples of one color that are wider than a byte."""
    samples = np.asarray(image)
    values, largest, inverted = tiff.typed(image, samples)
    if image.format == "PPM" and image.mode == "I":
        largest = _WORD  # Pillow scales them to it
    grey = eight_bits(values) if largest is None else _scaled(values, largest)
    key = image.info.get("transparency")
    if isinstance(key, int):
        return _over_white(np.stack([grey] * 3, axis=2), samples == key)
    return Image.fromarray(255 - grey if inverted else grey).convert("RGB")


def _over_white(colors: np.ndarray, transparent: np.ndarray) -> Image.Image:
    """An RGB picture of (H, W, 3) bytes, white where (H, W) it is transparent."""
    colors[transparent] = 255
    return Image.fromarray(colors)


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Return samples of an image as bytes, in the same shape; black is 0, and less than 0.

    What is white follows from the type where it can: 1 for booleans, 127 for signed bytes, 65535
    for unsigned 16 bits. Floats are shares of 1, or go to 255 or to 65535: to the first of them
    that at most half of the values above 0 exceed, so that what overshoots is cut off and does not
    change the others. Other integers are bytes where none is above 255, and else go to 32767 in
    signed 16 bits and to 65535 in wider types, or where more than half of those above 0 exceed it,
    to what 32 bits hold.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float32), posinf=1e9, neginf=0)
        return _scaled(values, _first_that_holds_most(values, (1, _BYTE, _WORD)))
    if values.dtype == bool:
        return _scaled(values, 1)
    most = int(np.iinfo(values.dtype).max)
    if most <= _WORD and values.dtype != np.int16:
        return _scaled(values, most)
    if values.max(initial=0) <= _BYTE:
        return _scaled(values, _BYTE)
    if values.dtype == np.int16:
        return _scaled(values, most)
    return _scaled(values, _first_that_holds_most(values, (_WORD, min(most, 2**32 - 1))))


def _first_that_holds_most(values: np.ndarray, bounds: tuple[int, ...]) -> int:
    above = np.count_nonzero(values > 0)
    for bound in bounds[:-1]:
        if 2 * np.count_nonzero(values > bound) <= above:
            return bound
    return bounds[-1]


def _scaled(values: np.ndarray, white: int) -> np.ndarray:
    """Samples from 0 to `white` as bytes, those outside cut off."""
    shares = values.clip(0, white).astype(np.float32)
    shares = shares * (_BYTE / white) if white <= _BYTE else shares / (white / _BYTE)
    samples: np.ndarray = shares.clip(0, _BYTE).round().astype(np.uint8)
    return samples
