"""From an image file's bytes to RGB pixels: the one way in for teachers, students and reports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.pixels import jpeg
from pipeline.pixels.formats import image_suffixes
from pipeline.pixels.opening import bytes_of, in_sentences, opened, patient_pillow, untouched_bytes
from pipeline.pixels.samples import decoded_rgb, eight_bits
from pipeline.storage.address import Place

__all__ = [
    "MARGIN", "MAX_PIXELS", "READING", "Pixels", "check_header", "eight_bits", "image_suffixes",
    "read_bytes", "read_pixels", "read_rgb", "upright_rgb",
]  # fmt: skip

# How files become pixels. Another way gives other vectors to the same file, and refuses other ones,
# so that it counts in every teacher's fingerprint.
READING = "strict"

MAX_PIXELS = 100_000_000  # of the largest picture that is decoded where nobody says otherwise

# How many times the pixels that the model takes a scaled decoder must leave on the short side. It
# averages blocks where bicubic resizing weighs neighbours, so the two differ a little: the vectors
# of a small real CLIP on crops of real photos have a cosine of at least 0.993 with twice as many
# pixels left, 0.998 with four times, 0.999 with six.
MARGIN = 6

_ORIENTATION = 0x0112  # the EXIF tag
# What turns a picture upright; 1 is upright, and nothing else has a meaning.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)  # orientations that swap height and width


@dataclass(frozen=True)
class Pixels:
    """A decoded image. `array` may hold fewer pixels than the file, in the same proportions."""

    array: np.ndarray  # (H, W, 3) bytes, RGB
    height: int  # of the whole image, upright
    width: int


def read_rgb(source: Place | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image, turned upright, as 8-bit RGB; of an animation, the first frame.

    Transparency is laid over white, 16 bits are scaled to 8, CMYK, palettes and grey become RGB.
    Orientation is EXIF's, or where that holds none, XMP's, and HEIF's and AVIF's own; one that has
    no meaning leaves the picture as it is stored. A damaged file is refused, also where its decoder
    would go on with guesses. A JPEG of more than `max_pixels` is decoded at a half, a quarter or an
    eighth of its size, see `pipeline.pixels.jpeg.reduction`. Thread-safe.

    Args:
        source: a place, see `pipeline.storage`, or the bytes of a file.
        max_pixels: what would be decoded to more is refused, from the header.

    Raises:
        SourceError: with a sentence that says why, without the path.
    """
    decoded, _ = _decoded(source, max_pixels, None)
    return decoded if isinstance(decoded, Image.Image) else Image.fromarray(decoded)


def read_pixels(
    source: Place | bytes, max_pixels: int = MAX_PIXELS, shortest: int | None = None
) -> Pixels:
    """Decode an image as `read_rgb` does, into an array, or a large one to fewer pixels.

    Args:
        source: a place, see `pipeline.storage`, or the bytes of a file.
        max_pixels: what would be decoded to more is refused, from the header.
        shortest: the caller will shrink the short side to this many pixels. A JPEG is then decoded
            at a half, a quarter or an eighth of its size, in the decoder itself, as long as the
            short side keeps at least `MARGIN` times as many.

    Raises:
        SourceError: with a sentence that says why, without the path.
    """
    decoded, (width, height) = _decoded(source, max_pixels, shortest)
    return Pixels(np.asarray(decoded), height, width)


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return a picture that Pillow has opened as `read_rgb` returns those in files.

    One that nobody has touched since, neither loading it nor turning to another page, is read
    from its file as others are, so that it is the same picture and damage is seen.

    Raises:
        SourceError: it cannot be decoded.
    """
    with in_sentences():
        if (data := untouched_bytes(image)) is not None:
            return read_rgb(data, max(MAX_PIXELS, image.width * image.height))
        rgb = decoded_rgb(image)
        return _upright(rgb, _orientation(image))


def check_header(source: Place | bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Look whether `read_rgb` has a chance, without decoding the pixels.

    Raises:
        SourceError: the file is empty, no image, or would be decoded to more than `max_pixels`.
    """
    with in_sentences():
        data = bytes_of(source)
        with patient_pillow(data, max_pixels):
            opened(data, max_pixels)


def read_bytes(place: Place) -> bytes:
    """Return the bytes of an image file, see `pipeline.storage`.

    Raises:
        SourceError: with a sentence that says why, without the path.
    """
    with in_sentences():
        return bytes_of(place)


def _decoded(
    source: Place | bytes, max_pixels: int, shortest: int | None
) -> tuple[Image.Image | np.ndarray, tuple[int, int]]:
    """The upright RGB picture, in whichever form it was decoded, and (width, height) of the whole
    image."""
    with in_sentences():
        data = bytes_of(source)
        with patient_pillow(data, max_pixels):
            image, scale = opened(data, max_pixels)
            whole = image.size
            # Of the pictures in an MPO, which Pillow knows from a JPEG, the first was always
            # decoded whole, and cached vectors are of that.
            if image.format == "JPEG" and shortest is not None:
                scale = max(scale, jpeg.fitting_scale(image.size, MARGIN * shortest))
            if jpeg.is_jpeg(image):
                array = jpeg.decode(image, data, scale)
                if array is not None:
                    return _upright_array(array, whole, _orientation(image))
                if scale > 1:
                    image.draft(None, (whole[0] // scale, whole[1] // scale))
            rgb = decoded_rgb(image, data)
            # A TIFF has been turned by Pillow, as it was loaded.
            orientation = _orientation(image)
            upright = _upright(rgb, orientation)
            if scale == 1:
                return upright, upright.size
            return upright, whole[::-1] if orientation in _LYING else whole


def _upright_array(
    array: np.ndarray, whole: tuple[int, int], orientation: int
) -> tuple[Image.Image | np.ndarray, tuple[int, int]]:
    if orientation == 1:
        return array, whole
    turned = _upright(Image.fromarray(array), orientation)
    return turned, whole[::-1] if orientation in _LYING else whole


def _orientation(image: Image.Image) -> int:
    """How a loaded image must be turned, as a key of `_TURNS`, or 1.

    Pillow's own `exif_transpose` is not asked: it also turns by a fraction or a float that equals a
    whole number, and fails on what cannot be compared with one (Pillow 13.0).
    """
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - EXIF that cannot be parsed says nothing about the pixels
        return 1
    return found if type(found) is int and found in _TURNS else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
