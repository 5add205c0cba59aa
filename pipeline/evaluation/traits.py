"""What can be seen of a picture without knowing what it shows: light, blur, size, shape, place."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import SourceError
from pipeline.listener import Progress, no_progress
from pipeline.machine import cores
from pipeline.pixels import read_pixels
from pipeline.pool import work_ahead
from pipeline.storage.address import Place

_SHORT = 32  # pixels for which pictures are decoded: large JPEGs to some 200 on the short side
_AT = 192  # pixels of the long side at which blur is measured
_FLAT = 1.0  # variance of brightness below which a picture shows nothing that could be blurred
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Traits:
    """Of each picture, (n,) float64; NaN where it could not be read, or there is none."""

    brightness: np.ndarray  # mean, 0 to 255
    sharpness: np.ndarray  # variance of the Laplacian beside that of the brightness itself
    short_side: np.ndarray  # pixels
    aspect: np.ndarray  # width by height


def read_traits(
    paths: Sequence[Place], max_pixels: int, progress: Progress = no_progress
) -> Traits:
    """Measure pictures, each read once, on threads, and a large JPEG decoded small.

    Args:
        paths: of image files.
        max_pixels: larger ones are not decoded.
        progress: told after each picture.
    """
    rows = np.full((len(paths), 4), np.nan)
    work = work_ahead(
        lambda path: _measure(path, max_pixels), paths, workers=cores(), ahead=64, name="traits"
    )
    with contextlib.closing(work) as measured:
        for number, row in enumerate(measured):
            rows[number] = row
            progress(number + 1, len(paths))
    return Traits(*rows.T)


def _measure(path: Place, max_pixels: int) -> tuple[float, float, float, float]:
    try:
        pixels = read_pixels(path, max_pixels, _SHORT)
    except SourceError:
        return (np.nan,) * 4
    height, width = pixels.height, pixels.width
    scale = _AT / max(width, height)
    size = max(round(width * scale), 3), max(round(height * scale), 3)
    image = Image.fromarray(pixels.array)
    # Averaged down, so that all are measured at one size; the smaller ones are as blurred as they
    # look when they are shown as large.
    way = Image.Resampling.BOX if image.width > size[0] else Image.Resampling.BILINEAR
    luma: np.ndarray = np.asarray(image.resize(size, way), np.float32) @ _LUMA
    return float(luma.mean()), _sharpness(luma), float(min(width, height)), width / height


def _sharpness(luma: np.ndarray) -> float:
    """Return the variance of the Laplacian (Pech-Pacheco et al., 2000) as a share of the variance
    of the brightness: a picture taken with less light is no blurred one. NaN of a plain surface."""
    spread = float(luma.var())
    if spread < _FLAT:
        return float("nan")
    inner = luma[1:-1, 1:-1]
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float((around - 4 * inner).var()) / spread


def places_of(
    paths: Sequence[Place], films: Sequence[str | None], classes: Sequence[str]
) -> list[tuple[str, ...]]:
    """Return where each picture comes from, the outer place first: its film, or the folders that
    tell it from the others.

    A folder that is called like a class says what the picture shows, not where it comes from.

    Args:
        paths: places of images, see `pipeline.storage`.
        films: the path of each frame's film; None for stills.
        classes: of the student.
    """
    taken_from = [Path(film or path) for path, film in zip(paths, films, strict=True)]
    try:
        above = os.path.commonpath([place.parent for place in taken_from])
    except ValueError:  # there is none, or there are several drives
        above = ""
    names = {name.casefold() for name in classes}
    places = []
    for place, film in zip(taken_from, films, strict=True):
        folders = Path(os.path.relpath(place.parent, above) if above else place.parent).parts
        told = [part for part in folders if part != "." and part.casefold() not in names]
        places.append((*told, *([] if film is None else [f"film {place.name}"])))
    return places
