"""An image tower as a space: what the backends of torch have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.errors import TeacherError
from pipeline.teachers.compiled import Encode
from pipeline.teachers.geometry import Geometry
from pipeline.teachers.precision import lower
from pipeline.teachers.sight import TorchSight
from pipeline.teachers.towers import noise


class Tower(TorchSight):
    """An image tower that was tried; `space_of` makes one."""

    dim = 0


def space_of(
    name: str,
    model: torch.nn.Module,
    encode: Encode,
    fingerprint: str,
    geometry: Geometry | None,
    transform: Callable[[Image.Image], Any],
    device: str,
    precision: str,
) -> Tower:
    """Return a tower as a space, once it has answered alike twice.

    Args:
        name: for people.
        model: in fp32, ready to answer; converted in place to the precision.
        encode: takes inputs (n, 3, H, W) to features (n, dim).
        fingerprint: of weights, preprocessing and precision.
        geometry: how pictures become inputs; None where only the library's own way does.
        transform: that way, from an RGB image to a tensor or an array (3, H, W).
        device: where the model is.
        precision: to compute with.

    Raises:
        TeacherError: it gives no vector for an image, or another one each time.
    """
    parameters = sum(tensor.numel() for tensor in model.parameters())
    if precision != "fp32":
        lower(model, precision)
    given = (model, encode, geometry, transform)
    tower = Tower(name, fingerprint, parameters, *given, device, precision)
    first, second = _try(tower), _try(tower)
    if first.ndim != 2 or not first.shape[1] or not np.isfinite(first).all():
        raise TeacherError(
            f"{name} gives no vector for an image (but an array {first.shape[1:]}). Choose another "
            "model for `label.space`."
        )
    if not np.allclose(first, second, atol=1e-2):
        # Masked autoencoders hide another part of the picture each time.
        raise TeacherError(
            f"{name} answers differently each time that it is shown the same image. Choose another "
            "model for `label.space`."
        )
    tower.dim = first.shape[1]
    return tower


def _try(tower: Tower) -> np.ndarray:
    """Vectors of a fixed picture, twice in a batch."""
    return tower.embed_images([tower.prepare(Image.fromarray(noise(0)))] * 2)
