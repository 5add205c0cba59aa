"""From decoded pixels to a model's input: resize, crop, normalize, the way CLIP was trained.

The same steps as torchvision's transforms, arranged for speed: resizing works on bytes and touches
no more than the crop needs, and normalization happens to a whole batch on the model's device.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.pixels import Pixels

# Beyond this ratio of the sides, resizing the whole picture would cost far more than its crop.
_LONG = 4


@dataclass(frozen=True)
class Geometry:
    """Resize the short side (or both sides, where `squash`), crop the middle square.

    Args:
        size: of the square that the model takes, in pixels.
        interpolation: "bicubic" or "bilinear", both with antialiasing, as Pillow does it.
        squash: whether the sides are resized apart, so that nothing is cropped.
        mean: of the three channels, on the scale 0 to 1.
        std: likewise.
        margin: pixels that the resized picture is larger than the square.
    """

    size: int
    interpolation: str
    squash: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    margin: int = 0

    @property
    def side(self) -> int:
        """That the picture is resized to, in pixels."""
        return self.size + self.margin

    @classmethod
    def of_open_clip(cls, config: Mapping[str, Any]) -> Geometry | None:
        """Return the geometry that open_clip's `preprocess_cfg` asks for; None where it wants
        something else (padding, sides that differ) that open_clip itself must do."""
        sides = config["size"]
        height, width = (sides, sides) if isinstance(sides, int) else sides
        mode, interpolation = config["resize_mode"], config["interpolation"]
        known = mode in ("shortest", "squash") and interpolation in ("bicubic", "bilinear")
        if height != width or not known or config["mode"] != "RGB":
            return None
        mean, std = config["mean"], config["std"]
        return cls(height, interpolation, mode == "squash", tuple(mean), tuple(std))

    def prepare(self, image: Image.Image | Pixels) -> np.ndarray:
        """Return the bytes (size, size, 3) of an RGB image."""
        pixels = image if isinstance(image, Pixels) else _pixels_of(image)
        side = self.side
        if self.squash:
            start = round(self.margin / 2)
            return self._crop(self._resize(pixels.array, side, side), start, start)
        # By the sizes of the whole image: those of a reduced one are rounded, which would shift the
        # crop by a pixel of the model's few.
        short, long = sorted((pixels.height, pixels.width))
        longer = int(side * long / short)  # cut, not rounded, as torchvision does
        size = (side, longer) if pixels.height <= pixels.width else (longer, side)
        top, left = (round((length - self.size) / 2) for length in size)
        if long > _LONG * short:
            return self._resize_crop(pixels.array, size, top, left)
        return self._crop(self._resize(pixels.array, *size), top, left)

    def _crop(self, array: np.ndarray, top: int, left: int) -> np.ndarray:
        return array[top : top + self.size, left : left + self.size]

    def _resize(self, array: np.ndarray, height: int, width: int) -> np.ndarray:
        if array.shape[:2] == (height, width):
            return array
        with _one_thread():
            # A copy only where Pillow lends its memory: torch wants to be allowed to write.
            source = torch.from_numpy(array if array.flags.writeable else array.copy())
            resized = F.interpolate(
                source.permute(2, 0, 1)[None],
                size=(height, width),
                mode=self.interpolation,
                antialias=True,
            )
        return resized[0].permute(1, 2, 0).numpy()

    def _resize_crop(
        self, array: np.ndarray, size: tuple[int, int], top: int, left: int
    ) -> np.ndarray:
        """Resize only what the crop shows, through Pillow, which can."""
        down, across = array.shape[0] / size[0], array.shape[1] / size[1]
        box = (left * across, top * down, (left + self.size) * across, (top + self.size) * down)
        method = Image.Resampling[self.interpolation.upper()]
        picture = Image.fromarray(array)
        return np.asarray(picture.resize((self.size, self.size), method, box=box))

    def to_batch(
        self, images: Sequence[np.ndarray], device: str, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return normalized inputs (n, 3, size, size) on the device for prepared images.

        The memory lies channels last, as the images come; convolutions read it as fast or faster.
        """
        filled = np.empty((len(images), self.size, self.size, 3), np.uint8)
        for place, image in zip(filled, images, strict=True):
            place[:] = image  # np.stack would keep an order of axes that `view` cannot read
        stacked = torch.from_numpy(filled)
        if device.startswith("cuda"):
            stacked = stacked.pin_memory().to(device, non_blocking=True)
        else:
            stacked = stacked.to(device)
        # Rows of (width x 3) values against tiled constants: long vectors for the processor.
        rows = stacked.view(len(images), self.size, self.size * 3).to(torch.float32)
        mean = torch.tensor(self.mean, dtype=torch.float64) * 255
        std = torch.tensor(self.std, dtype=torch.float64) * 255
        factor = (1 / std).repeat(self.size).to(device, torch.float32)
        shift = (-mean / std).repeat(self.size).to(device, torch.float32)
        torch.addcmul(shift, rows, factor, out=rows)
        inputs = rows.view(len(images), self.size, self.size, 3).permute(0, 3, 1, 2)
        return inputs.to(dtype)


def _pixels_of(image: Image.Image) -> Pixels:
    return Pixels(np.asarray(image), image.height, image.width)


class _one_thread:
    """Keep torch from dealing one small picture to threads that other pictures keep busy.

    The number of threads is a property of the calling thread (OpenMP's), so worker threads that
    have been set to one stay there and pay nothing; only a main thread is set and set back.
    """

    def __enter__(self) -> None:
        self._before = (
            torch.get_num_threads() if threading.current_thread() is threading.main_thread() else 1
        )
        if self._before > 1:
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        if self._before > 1:
            torch.set_num_threads(self._before)
