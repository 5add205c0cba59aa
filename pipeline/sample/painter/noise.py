"""Band-limited noise, tabulated once and looked up: the source of every texture.

Looking up a tabulated period is about twenty times faster in numpy than computing gradient noise
for each point, and a table that is smooth over several cells needs no interpolation.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_CELLS = 64  # per axis of the volume; a power of two, so that wrapping is a bit mask
_SHEET = 512  # per axis of the plane
_WAVELENGTH = 8.0  # cells; one unit of a lookup's argument is one wavelength


def _band_limited(shape: tuple[int, ...], seed: int) -> Array:
    """White noise, filtered to wavelengths around `_WAVELENGTH` cells; mean 0, deviation 1."""
    white = np.random.default_rng(seed).standard_normal(shape)
    axes = [np.fft.fftfreq(n) for n in shape]
    grids = np.meshgrid(*axes, indexing="ij")
    frequency = np.sqrt(sum(grid**2 for grid in grids))
    peak = 1.0 / _WAVELENGTH
    envelope = np.exp(-(((frequency - peak) / (0.45 * peak)) ** 2))
    field = np.fft.ifftn(np.fft.fftn(white) * envelope).real
    even: Array = ((field - field.mean()) / field.std()).astype(np.float32)
    return even


@cache
def _volume() -> Array:
    return _band_limited((_CELLS, _CELLS, _CELLS), seed=11).ravel()


@cache
def _slopes() -> Array:
    volume = _volume().reshape(_CELLS, _CELLS, _CELLS)
    slopes = [(np.roll(volume, -1, axis) - np.roll(volume, 1, axis)) for axis in range(3)]
    return np.stack([slope.ravel() / slope.std() for slope in slopes]).astype(np.float32)


@cache
def _plane() -> Array:
    return _band_limited((_SHEET, _SHEET), seed=12).ravel()


def _cell(p: Array, frequency: float, offset: float) -> NDArray[np.int32]:
    scaled = p * np.float32(frequency * _WAVELENGTH) + np.float32(offset * 97.0 + 4096 * _CELLS)
    index = scaled.astype(np.int32) & (_CELLS - 1)
    return np.asarray((index[0] * _CELLS + index[1]) * _CELLS + index[2], np.int32)


def noise3(p: Array, frequency: float, offset: float = 0.0) -> Array:
    """Noise (N,) of deviation 1 at the points `p` (3, N), `frequency` waves to the unit."""
    return _volume().take(_cell(p, frequency, offset))


def slope3(p: Array, frequency: float, offset: float = 0.0) -> Array:
    """The gradient (3, N) of `noise3`, scaled to deviation 1 an axis: a bump map."""
    return _slopes().take(_cell(p, frequency, offset), axis=1)


def noise2(x: Array, y: Array, frequency: float, offset: float = 0.0) -> Array:
    """Noise (N,) of deviation 1 over a plane; `x`, `y` (N,), `frequency` waves to the unit."""
    scale, shift = np.float32(frequency * _WAVELENGTH), np.float32(offset * 131.0 + 64 * _SHEET)
    column = (x * scale + shift).astype(np.int32) & (_SHEET - 1)
    row = (y * scale + shift).astype(np.int32) & (_SHEET - 1)
    found: Array = _plane().take(row * _SHEET + column)
    return found
