"""From an image file's bytes to RGB pixels: the one way in for teacher, student and report."""

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
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import SourceError

# Opened by Pillow and yet not for us: EPS and WMF run an interpreter over the file, the others
# are containers whose pictures Pillow does not decode.
_NO_PICTURES = {"EPS", "WMF", "MPEG", "BUFR", "GRIB", "HDF5", "IPTC", "PDF"}

# How many times the pixels that the model takes a scaled decoder must leave on the short side. It
# averages blocks where bicubic resizing weighs neighbours, so the two differ a little: the vectors
# of a small real CLIP on crops of real photos have a cosine of at least 0.993 with twice as many
# pixels left, 0.998 with four times, 0.999 with six.
MARGIN = 6

_ORIENTATION = 0x0112  # the EXIF tag
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


def read_rgb(source: Path | bytes, max_pixels: int = 100_000_000) -> Image.Image:
    """Decode an image, turned upright, as 8-bit RGB; of an animation, the first frame.

    Transparency is laid over white, 16 bits are scaled to 8, CMYK, palettes and grey become RGB.
    A truncated file is refused rather than completed with grey. Thread-safe.

    Args:
        source: a file, or the bytes of one.
        max_pixels: refused above it, from the header, before anything is decoded.

    Raises:
        SourceError: with a sentence that says why, without the path.
    """
    with _opened(source, max_pixels) as image:
        image.load()
        upright = _upright(image)
        return _to_rgb(upright)


@dataclass(frozen=True)
class Pixels:
    """A decoded image. `array` may hold fewer pixels than the file, in the same proportions."""

    array: np.ndarray  # (H, W, 3) bytes, RGB
    height: int  # of the whole image, upright
    width: int


def read_pixels(
    source: Path | bytes, max_pixels: int = 100_000_000, shortest: int | None = None
) -> Pixels:
    """Decode an image as `read_rgb` does, into an array, faster.

    Args:
        source: a file, or the bytes of one.
        max_pixels: refused above it, from the header, before anything is decoded.
        shortest: the caller will shrink the short side to this many pixels. A JPEG is then decoded
            at a half, a quarter or an eighth of its size, in the decoder itself, as long as the
            short side keeps at least `MARGIN` times as many.

    Raises:
        SourceError: with a sentence that says why, without the path.
    """
    with _opened(source, max_pixels) as image:
        width, height = image.size
        plain = image.format == "JPEG" and image.mode in ("RGB", "L") and "exif" not in image.info
        enough = 1.0 if shortest is None else MARGIN * shortest / min(image.size)
        if enough <= 0.5 and image.format == "JPEG":
            image.draft(None, (math.ceil(width * enough), math.ceil(height * enough)))
        elif plain:
            return Pixels(_decode_jpeg(_bytes_of(source)), height, width)
        image.load()
        if image.getexif().get(_ORIENTATION, 1) >= 5:  # lies on its side
            height, width = width, height
        return Pixels(np.asarray(_to_rgb(_upright(image))), height, width)


def _bytes_of(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _decode_jpeg(data: bytes) -> np.ndarray:
    """The same pixels as Pillow's, without its copies: 0.6 ms for 500 x 375 instead of 1.0."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    pixels = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    return pixels.permute(1, 2, 0).numpy()  # type: ignore[no-any-return]


def check_header(source: Path | bytes, max_pixels: int = 100_000_000) -> None:
    """Look whether `read_rgb` has a chance, without decoding the pixels.

    Raises:
        SourceError: the file is empty, no image, or larger than `max_pixels`.
    """
    with _opened(source, max_pixels):
        pass


@contextlib.contextmanager
def _opened(source: Path | bytes, max_pixels: int) -> Iterator[Image.Image]:
    """Yield the image with only its header read; whatever goes wrong becomes a SourceError."""
    try:
        with contextlib.ExitStack() as stack:
            # Read whole and closed at once: a decoder must not keep a folder's files open.
            data = _bytes_of(source)
            if not data:
                raise SourceError("The file is empty.")
            image = stack.enter_context(_quietly_open(data))
            width, height = image.size
            if width * height > max_pixels:
                raise SourceError(
                    f"It would decode to {width * height:,} pixels, more than `max_pixels` "
                    f"({max_pixels:,})."
                )
            yield image
    except SourceError:
        raise
    except (UnidentifiedImageError, ModuleNotFoundError):
        # ultralytics, once imported, replaces Image.open by one that looks for a HEIF reader.
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


def _quietly_open(data: bytes) -> Image.Image:
    # The size is checked by the caller; `catch_warnings` is not thread-safe, a filter is.
    with _warned:
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image.open(io.BytesIO(data), formats=_formats())


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - EXIF that cannot be parsed says nothing about the pixels
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_floats(np.asarray(image).astype(np.float32) / 257)
    if image.mode == "I":
        # Pillow's mode for integers wider than 16 bits; the ones in the wild hold 16.
        return _from_floats(np.asarray(image).clip(0, 65535).astype(np.float32) / 257)
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, np.float32), posinf=1e9, neginf=0)
        return _from_floats(values * 255 if values.max(initial=0) <= 1 else values)
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


def _from_floats(values: np.ndarray) -> Image.Image:
    """Grey values 0…255 (H, W) as an RGB image."""
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).convert("RGB")


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:120].rstrip(". ")
