"""From linear light to a photo: exposure, white balance, blur, tone, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sample.painter.noise import Array

_PAD = 8


@dataclass(frozen=True)
class Lens:
    """What camera and optics do; lengths are in pixels of the developed picture."""

    exposure: float = 1.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    vignette: float = 0.2
    defocus: float = 0.4  # deviation of a Gaussian
    motion: tuple[float, float] = (0.0, 0.0)  # travel during the exposure, (x, y)
    noise: float = 0.01
    saturation: float = 1.0
    contrast: float = 1.0
    lift: float = 0.0  # stray light, added everywhere


def _blur(picture: Array, lens: Lens) -> Array:
    """Defocus and motion blur of (3, n, n) in one pass through the Fourier domain."""
    padded = np.pad(picture, ((0, 0), (_PAD, _PAD), (_PAD, _PAD)), mode="edge")
    rows, columns = padded.shape[1:]
    fy = np.fft.fftfreq(rows)[:, None]
    fx = np.fft.rfftfreq(columns)[None, :]
    transfer = np.exp(-2 * (np.pi * lens.defocus) ** 2 * (fx**2 + fy**2))
    transfer = transfer * np.sinc(fx * lens.motion[0] + fy * lens.motion[1])
    blurred = np.fft.irfft2(np.fft.rfft2(padded) * transfer.astype(np.float32), s=(rows, columns))
    return blurred[:, _PAD:-_PAD, _PAD:-_PAD].astype(np.float32)


def develop(picture: Array, size: int, lens: Lens, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Develop linear light (3, k * size, k * size) into a photo (size, size, 3) of bytes."""
    fold = picture.shape[1] // size
    bright = np.minimum(picture, 6.0)
    parts = [bright[:, i::fold, j::fold] for i in range(fold) for j in range(fold)]
    small = np.maximum(_blur(sum(parts[1:], start=parts[0]) / np.float32(len(parts)), lens), 0)
    span = np.linspace(-1, 1, size, dtype=np.float32)
    corner = span[None, :] ** 2 + span[:, None] ** 2
    gain = np.float32(lens.exposure) * (1 - np.float32(lens.vignette) * corner * 0.5)
    small = small * gain * np.asarray(lens.balance, np.float32)[:, None, None] + lens.lift
    # Noise of photons and of the sensor, a part of it shared by the colors, before the tone curve.
    grain = rng.standard_normal((4, size, size), np.float32)
    amount = np.float32(lens.noise) * np.sqrt(np.maximum(small, 0) + np.float32(0.05))
    small = small + amount * (grain[:3] + grain[3]) * np.float32(1.4)
    # A shoulder that keeps highlights from clipping, then the display's gamma.
    small = np.maximum(small, 0)
    small = small * (1 + small * 0.12) / (1 + small * 0.55)
    small = small ** np.float32(1 / 2.2)
    gray = small.mean(axis=0)
    small = gray + (small - gray) * np.float32(lens.saturation)
    small = np.float32(0.45) + (small - np.float32(0.45)) * np.float32(lens.contrast)
    pixels: NDArray[np.uint8] = np.clip(small.transpose(1, 2, 0) * 255 + 0.5, 0, 255).astype(
        np.uint8
    )
    return pixels
