"""From an image file's bytes to RGB pixels: the one way in for teachers, students and reports."""

from __future__ import annotations

import contextlib
import io
import math
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from pipeline.errors import SourceError

MAX_PIXELS = 100_000_000  # of the largest picture that is decoded where nobody says otherwise

# Opened by Pillow and yet not for us: EPS and WMF run an interpreter over the file, the others
# are containers whose pictures Pillow does not decode.
_NO_PICTURES = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5", "IPTC", "PDF"}

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
_warned = threading.Lock()


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(sorted(set(Image.OPEN) - _NO_PICTURES))


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes, lower case and with their dot, of every format that is read here."""
    formats = set(_formats())
    return frozenset(
        suffix.lower() for suffix, name in Image.registered_extensions().items() if name in formats
    )


@dataclass(frozen=True)
class Pixels:
    """A decoded image. `array` may hold fewer pixels than the file, in the same proportions."""

    array: np.ndarray  # (H, W, 3) bytes, RGB
    height: int  # of the whole image, upright
    width: int


def read_rgb(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image, turned upright, as 8-bit RGB; of an animation, the first frame.

    Transparency is laid over white, 16 bits are scaled to 8, CMYK, palettes and grey become RGB.
    Orientation is EXIF's, or where that holds none, XMP's; one that has no meaning leaves the
    picture as it is stored. A truncated file is refused rather than completed with grey.
    Thread-safe.

    Args:
        source: a file, or the bytes of one.
        max_pixels: refused above it, from the header, before anything is decoded.

    Raises:
        SourceError: with a sentence that says why, without the path.
    """
    decoded, _ = _decoded(source, max_pixels, None)
    return decoded if isinstance(decoded, Image.Image) else Image.fromarray(decoded)


def read_pixels(
    source: Path | bytes, max_pixels: int = MAX_PIXELS, shortest: int | None = None
) -> Pixels:
    """Decode an image as `read_rgb` does, into an array, or a large one to fewer pixels.

    Args:
        source: a file, or the bytes of one.
        max_pixels: refused above it, from the header, before anything is decoded.
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

    Raises:
        SourceError: it cannot be decoded.
    """
    with _in_sentences():
        image.load()
        return _to_rgb(_upright(image, _orientation(image)))


def check_header(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> None:
    """Look whether `read_rgb` has a chance, without decoding the pixels.

    Raises:
        SourceError: the file is empty, no image, or larger than `max_pixels`.
    """
    with _in_sentences():
        _opened(_bytes_of(source), max_pixels)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        SourceError: with a sentence that says why, without the path.
    """
    with _in_sentences():
        return _bytes_of(path)


def _decoded(
    source: Path | bytes, max_pixels: int, shortest: int | None
) -> tuple[Image.Image | np.ndarray, tuple[int, int]]:
    """The upright RGB picture, in whichever form it was decoded, and (width, height) of the whole
    image."""
    with _in_sentences():
        data = _bytes_of(source)
        image = _opened(data, max_pixels)
        whole = image.size
        if not _drafted(image, shortest) and _is_plain_jpeg(image):
            array = _decode_jpeg(data)
            if array is not None:
                return array, whole
        reduced = image.size != whole
        image.load()
        orientation = _orientation(image)
        upright = _to_rgb(_upright(image, orientation))
        if not reduced:
            return upright, upright.size
        return upright, whole[::-1] if orientation in _LYING else whole


def _drafted(image: Image.Image, shortest: int | None) -> bool:
    """Have a JPEG decoded at a part of its size where that leaves enough; False where it must be
    decoded whole."""
    if shortest is None or image.format != "JPEG":
        return False
    enough = MARGIN * shortest / min(image.size)
    if enough > 0.5:
        return False
    image.draft(None, (math.ceil(image.width * enough), math.ceil(image.height * enough)))
    return True


def _is_plain_jpeg(image: Image.Image) -> bool:
    """Whether the decoder below can be asked: it knows no CMYK and turns nothing upright. EXIF and
    XMP, which can speak of turning, both lie in APP1."""
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return False
    assert isinstance(image, JpegImageFile)
    return all(segment != "APP1" for segment, _ in image.applist)


def _decode_jpeg(data: bytes) -> np.ndarray | None:
    """The same pixels as Pillow's, without its copies: 0.6 ms for 500 x 375 instead of 1.0. None
    where this decoder refuses: it is the stricter one, with files that end without saying so."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        pixels = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    except RuntimeError:
        return None
    return pixels.permute(1, 2, 0).numpy()  # type: ignore[no-any-return]


def _bytes_of(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    """The image with only its header read."""
    if not data:
        raise SourceError("The file is empty.")
    # The size is checked below; `catch_warnings` is not thread-safe, a filter is.
    with _warned:
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")
    image = Image.open(io.BytesIO(data), formats=_formats())
    width, height = image.size
    if width * height > max_pixels:
        raise SourceError(
            f"It would decode to {width * height:,} pixels, more than `max_pixels` "
            f"({max_pixels:,})."
        )
    return image


@contextlib.contextmanager
def _in_sentences() -> Iterator[None]:
    """Turn whatever goes wrong into a SourceError."""
    try:
        yield
    except SourceError:
        raise
    except (UnidentifiedImageError, ModuleNotFoundError):
        # ultralytics, once imported, replaces Image.open by one that looks for a HEIF reader
        # (8.4.190, ultralytics/utils/patches.py).
        raise SourceError("It is no image in a format that can be read.") from None
    except Image.DecompressionBombError:
        raise SourceError(
            "It would decode to more pixels than is safe; it may be a decompression bomb."
        ) from None
    except MemoryError:
        raise SourceError("It is too large for the memory.") from None
    except FileNotFoundError:
        raise SourceError("There is no such file.") from None
    except PermissionError:
        raise SourceError("Reading it is not permitted.") from None
    except IsADirectoryError:
        raise SourceError("It is a folder.") from None
    except Exception as error:  # decoders raise anything on damaged bytes
        raise SourceError(f"It is damaged ({_short(error)}).") from error


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


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(eight_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(white, layers).convert("RGB")
    if image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        turned = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        return turned if turned is not None else image.convert("RGB")
    return image.convert("RGB")


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Return samples of an image as bytes, in the same shape.

    Integers wider than 8 bits hold 16, as those in the wild do; floats are shares of 1 where none
    is larger, and else go to 255.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float32), posinf=1e9, neginf=0)
        values = values * 255 if values.max(initial=0) <= 1 else values
    else:
        values = values.clip(0, 65535).astype(np.float32) / 257
    samples: np.ndarray = values.clip(0, 255).round().astype(np.uint8)
    return samples


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:120].rstrip(". ")
