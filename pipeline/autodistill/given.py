"""What a notebook hands over: pictures in any form, settings and devices as libraries name them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from PIL import Image
from pydantic import ValidationError

from pipeline.complaints import sentences
from pipeline.config import Section
from pipeline.errors import ConfigError, SourceError
from pipeline.images.fetch import fetch
from pipeline.pixels import MAX_PIXELS, eight_bits, read_bytes, upright_rgb
from pipeline.records import Predictor
from pipeline.teachers.base import Teacher

ImageInput = str | os.PathLike[str] | Image.Image | np.ndarray
Settings = TypeVar("Settings", bound=Section)


def settings_of(kind: type[Settings], given: Mapping[str, Any]) -> Settings:
    """Return a part of a config from keywords; `device` may also be what torch and ultralytics
    take: 0, "0", "0,1", a torch.device, None for the best there is.

    Raises:
        ConfigError: a keyword is not known, or its value cannot be used.
    """
    try:
        return kind.model_validate({**given, "device": _device(given.get("device"))})
    except ValidationError as error:
        raise ConfigError(" ".join(sentences(error, given, lambda place: None))) from None


def _device(given: Any) -> str:
    several = given if isinstance(given, (list, tuple)) else [given]
    names = [name.strip() for one in several for name in str(_or_auto(one)).split(",")]
    return ",".join(f"cuda:{name}" if name.isdigit() else name for name in names)


def _or_auto(one: Any) -> Any:
    return "auto" if one is None or one == "" else one


def read_picture(reader: Predictor | Teacher, given: ImageInput) -> Any:
    """Return what a teacher or a student takes of a file, an address, or a picture in memory as if
    it lay in a file.

    Args:
        given: a path, an address (http, https, file), a PIL image, or a grey or BGR(A) array as
            OpenCV reads it.

    Raises:
        SourceError: it is no picture, or cannot be read.
    """
    if isinstance(given, np.ndarray):
        given = _from_array(given)
    if isinstance(given, Image.Image):
        if 0 in given.size:
            raise SourceError(f"A picture of {given.width} x {given.height} pixels holds nothing.")
        return reader.prepare(upright_rgb(given))
    if not isinstance(given, (str, os.PathLike)):
        raise SourceError(
            f"{type(given).__name__} is no picture. Give a path, an address, a PIL image or a "
            "NumPy array; of several pictures one at a time."
        )
    try:
        return reader.read(_bytes(os.fspath(given)), MAX_PIXELS)
    except SourceError as error:
        raise SourceError(f"{given}: {error}") from error


def _bytes(place: str) -> bytes:
    scheme = place.partition(":")[0].lower()
    if scheme in ("http", "https"):
        return fetch(place)
    path = url2pathname(urlsplit(place).path) if scheme == "file" else place
    return read_bytes(Path(path).expanduser())


def _from_array(array: np.ndarray) -> Image.Image:
    """A grey array (H, W) or (H, W, 1), or a BGR(A) one, as OpenCV has them."""
    known = array.dtype in (bool, np.uint8, np.uint16) or array.dtype.kind == "f"
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or not known or not array.size:
        raise SourceError(
            f"An array of shape {array.shape} and type {array.dtype} is no picture. Give (H, W), "
            "(H, W, 3) or (H, W, 4) in 8 or 16 bits, or floats."
        )
    pixels = eight_bits(array)
    if channels == 1:
        return Image.fromarray(np.ascontiguousarray(pixels.reshape(array.shape[:2])))
    return Image.fromarray(np.ascontiguousarray(pixels[..., [2, 1, 0, 3][:channels]]))
