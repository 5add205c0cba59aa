"""What sees pictures with torch: from decoded pixels through an image tower to unit vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.machine import out_of_memory, streams_of
from pipeline.pixels import read_pixels, read_rgb
from pipeline.teachers.base import Sight
from pipeline.teachers.compiled import Encode, choose
from pipeline.teachers.geometry import Geometry
from pipeline.teachers.packed import WORTHWHILE, pack_where_faster
from pipeline.teachers.precision import DTYPES
from pipeline.teachers.towers import noise, unit


@dataclass(frozen=True)
class Preparation:
    """How pictures become a tower's inputs: all of it that needs no weights.

    Args:
        geometry: by our own steps; None where only the library's own way does.
        transform: that way.
    """

    geometry: Geometry | None
    transform: Callable[[Image.Image], Any]

    def __call__(self, data: bytes, max_pixels: int) -> np.ndarray:
        if self.geometry is None:
            return self.prepare(read_rgb(data, max_pixels))
        return self.geometry.prepare(read_pixels(data, max_pixels, self.geometry.side))

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return what the tower takes of an RGB image in memory."""
        if self.geometry is not None:
            return self.geometry.prepare(image)
        return np.asarray(self.transform(image), np.float32)


class TorchSight(Sight):
    """An image tower of torch.

    Args:
        name: for people.
        fingerprint: of weights, preprocessing and precision; or what computes it, once, when it is
            asked for.
        parameters: how many numbers the model has.
        tower: that `encode` goes through.
        encode: takes inputs (n, 3, H, W) to features (n, dim).
        geometry: how pictures become inputs; None where only the library's own way does.
        transform: that way, from an RGB image to a tensor or an array (3, H, W).
        device: where the tower is.
        precision: that it computes with.
    """

    def __init__(
        self,
        name: str,
        fingerprint: str | Callable[[], str],
        parameters: int,
        tower: torch.nn.Module,
        encode: Encode,
        geometry: Geometry | None,
        transform: Callable[[Image.Image], Any],
        device: str,
        precision: str,
    ) -> None:
        self.name = name
        self._fingerprint = fingerprint
        self.parameters = parameters
        self.device = device
        self.precision = precision
        self.streams = streams_of(device)
        self._geometry = geometry
        self._transform = transform
        self._dtype = DTYPES[precision]
        self._tower = tower
        self._packed = False
        self._eager = self._encode = encode
        self._fixed: int | None = None  # images in a batch of compiled code

    @cached_property
    def fingerprint(self) -> str:  # type: ignore[override]  # it may be written, too
        """Of weights, preprocessing and precision."""
        if not isinstance(self._fingerprint, str):
            self._fingerprint = self._fingerprint()  # what computes it holds the weights
        return self._fingerprint

    @torch.inference_mode()
    def get_ready(self, images: int, batch: int, compiling: str) -> None:
        """Pack the encoder's weights, or compile it for batches of that size, where so many images
        make it pay. What is packed is not compiled: it is the faster one of the two.

        Raises:
            TeacherError: `compiling` is "always" and it cannot be.
        """
        self._encode, self._fixed = self._eager, None
        if images < WORTHWHILE and compiling == "auto":
            return
        pictures = [self.prepare(Image.fromarray(noise(number))) for number in range(2)]
        example = self._inputs((pictures * batch)[: max(batch, 2)])
        if compiling != "always" and not self._packed:
            self._packed = pack_where_faster(
                self._tower, self._eager, example, images, self.fingerprint
            )
        if self._packed or self._geometry is None:
            return
        example = example[:batch]
        self._encode = choose(self._eager, example, images, self.fingerprint, compiling)
        self._fixed = None if self._encode is self._eager else batch

    @property
    def reader(self) -> Preparation:
        """The preparation, without the tower."""
        return Preparation(self._geometry, self._transform)

    def read(self, data: bytes, max_pixels: int) -> np.ndarray:
        """Return what `prepare` does; a large JPEG is decoded to fewer pixels, as the model takes
        few. See `pipeline.pixels.MARGIN` for what that changes."""
        return self.reader(data, max_pixels)

    def prepare(self, image: Image.Image) -> np.ndarray:
        """Return the model's own resize and crop of an RGB image: bytes (H, W, 3), or for a model
        with rare settings the library's transform, float32 (3, H, W)."""
        return self.reader.prepare(image)

    @torch.inference_mode()
    def embed_images(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Return unit vectors (n, dim) float32 for prepared images.

        Raises:
            OutOfMemory: the batch is too large for the device.
        """
        count = len(batch)
        if self._fixed and count < self._fixed:
            # Another shape would be compiled anew, which takes longer than a few blank images.
            batch = [*batch, *[batch[-1]] * (self._fixed - count)]
        with out_of_memory(self.device):
            return unit(self._encode(self._inputs(batch))[:count])

    def _inputs(self, batch: Sequence[np.ndarray]) -> torch.Tensor:
        """Inputs (n, 3, H, W) of prepared images."""
        if self._geometry is not None:
            return self._geometry.to_batch(batch, self.device, self._dtype)
        return torch.from_numpy(np.stack(batch)).to(self.device, self._dtype)
