"""A file's bytes to an image whose header is read: its size against the limit, errors as words."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from pipeline.errors import ConfigError, SourceError
from pipeline.pixels import jpeg, tiff
from pipeline.pixels.formats import in_words, open_image
from pipeline.storage.address import Place
from pipeline.storage.reading import read_bytes

# Some of Pillow's readers log an error where they raise one, and a logger without any handler
# prints.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_lock = threading.Lock()
_limits: list[int] = []  # of those who are reading now
_pillows_own: int | None = None  # its limit while nobody is


def bytes_of(source: Place | bytes) -> bytes:
    return source if isinstance(source, bytes) else read_bytes(source)


def untouched_bytes(image: Image.Image) -> bytes | None:
    """Return the file of an image that has only been opened; None where more has happened."""
    if not isinstance(image, ImageFile) or not image.tile or image.decoderconfig or image.tell():
        return None
    if image.fp is None or image.fp.closed:
        return None
    place = image.fp.tell()
    image.fp.seek(0)
    data = image.fp.read()
    image.fp.seek(place)
    return data


def opened(data: bytes, max_pixels: int) -> tuple[ImageFile, int]:
    """Return the image with only its header read, and the part of its size (2: a half) at which a
    JPEG must be decoded to stay within `max_pixels`.

    Raises:
        SourceError: the file is empty, or would be decoded to more.
    """
    if not data:
        raise SourceError("The file is empty.")
    image = tiff.full_picture(open_image(data), data)
    width, height = image.size
    scale = jpeg.reduction(image, data, max_pixels) if jpeg.is_jpeg(image) else 1
    if width * height > max_pixels and scale == 1:
        raise SourceError(
            f"It would decode to {width * height:,} pixels, more than `max_pixels` "
            f"({max_pixels:,})."
        )
    return image, scale


@contextlib.contextmanager
def patient_pillow(data: bytes, max_pixels: int) -> Iterator[None]:
    """Let Pillow's readers go as far as `max_pixels` allows, without warnings.

    Pillow has one limit for the process, which its readers apply at half and at twice its value;
    it is raised, never lowered, while anybody reads here, and put back after the last one.
    """
    largest = max_pixels * 64 if data[:2] == b"\xff\xd8" else max_pixels  # an eighth of each side
    # `catch_warnings` is not thread-safe, a filter is.
    with _lock:
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module=r"(PIL|pi_heif)\b")
        _enter(largest)
    try:
        yield
    finally:
        with _lock:
            _limits.remove(largest)
            _set_limit()


def _enter(limit: int) -> None:
    global _pillows_own
    if not _limits:
        _pillows_own = Image.MAX_IMAGE_PIXELS
    _limits.append(limit)
    _set_limit()


def _set_limit() -> None:
    if _pillows_own is not None:
        Image.MAX_IMAGE_PIXELS = max(_pillows_own, *(-(-limit // 2) for limit in _limits), 0)


@contextlib.contextmanager
def in_sentences() -> Iterator[None]:
    """Turn whatever goes wrong into a SourceError."""
    try:
        yield
    except (SourceError, ConfigError):
        raise
    except UnidentifiedImageError:
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
        raise SourceError(f"It is damaged ({in_words(error)}).") from error
