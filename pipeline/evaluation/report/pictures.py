"""Thumbnails within the page, which together stay within a budget."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import SourceError
from pipeline.pixels import MAX_PIXELS, read_rgb

# Signs of base64 that all pictures of a report may take: with the rest it is below three megabytes.
BUDGET = 2_300_000
SHEET = 6  # what a picture of several pictures takes, in thumbnails
# From fine to coarse: pixels of the longer side, and JPEG's quality. Shown at half of it or more.
_THUMBNAILS = ((176, 80), (160, 76), (144, 72), (128, 68), (112, 64), (96, 60), (80, 56), (64, 50))
_SHEETS = ((480, 74), (400, 70), (320, 66), (240, 60), (160, 50))
# How bright what counts least for an answer is left, and how gray.
_DIM, _GRAY = 0.45, 0.9


class Pictures:
    """Makes data URIs of pictures, each as fine as what is left of the budget allows.

    Args:
        wanted: how many thumbnails there will be, so that the first ones leave room for the others.
        max_pixels: pictures larger than this are not read.
        budget: of all data URIs together, in signs.
    """

    def __init__(self, wanted: int, max_pixels: int = MAX_PIXELS, budget: int = BUDGET) -> None:
        self._left = budget
        self._wanted = wanted
        self._max_pixels = max_pixels
        self.crowded_out = 0  # pictures that had no room

    def thumbnail(self, path: Path | str) -> str | None:
        """Return a small JPEG; None for a picture that cannot be read any more, or has no room."""
        image = self.small(path)
        return None if image is None else self.uri(image)

    def small(self, path: Path | str) -> Image.Image | None:
        """Return a picture that is small enough for `uri`; None where it cannot be read any more,
        which leaves its place to the others."""
        try:
            image = read_rgb(path, self._max_pixels)
        except SourceError:
            self._wanted -= 1
            return None
        image.thumbnail((_THUMBNAILS[0][0],) * 2)
        return image

    def uri(self, image: Image.Image) -> str | None:
        """Return a small picture as a JPEG; None where it has no room."""
        return self._finest(image, _THUMBNAILS, 1)

    def sheet(self, file: Path | None) -> str | None:
        """Return a picture of several pictures, which counts as `SHEET` thumbnails; None where
        there is none, or no room for it."""
        if file is None:
            return None
        try:
            image = read_rgb(file, self._max_pixels)
        except SourceError:
            self._wanted -= SHEET
            return None
        return self._finest(image, _SHEETS, SHEET)

    def _finest(
        self, image: Image.Image, steps: Sequence[tuple[int, int]], parts: int
    ) -> str | None:
        """The picture at the finest step that its share of what is left allows."""
        share = self._left * parts / max(self._wanted, parts)
        self._wanted -= parts
        for side, quality in steps:
            small = image.copy()
            small.thumbnail((side, side))
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality, optimize=True)
            uri = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
            if len(uri) <= share:
                self._left -= len(uri)
                return uri
        self.crowded_out += 1
        return None


def lit(image: Image.Image, evidence: np.ndarray) -> Image.Image:
    """Return a picture that is bright and coloured where something counts, dark and gray elsewhere.

    Args:
        image: RGB.
        evidence: float (height, width) from 0 to 1, how much each pixel counts.
    """
    pixels = np.asarray(image, np.float32)
    gray = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    dull = (gray[..., None] * _GRAY + pixels * (1 - _GRAY)) * _DIM
    light = evidence.astype(np.float32)[..., None]
    return Image.fromarray((dull + (pixels - dull) * light).round().astype(np.uint8))
