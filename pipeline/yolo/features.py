"""What a classifier of ultralytics sees, before it decides: the pooled features of its backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pipeline.yolo.library import Weights


def without_classes(weights: Weights) -> Any:
    """Return the model with nothing in the place of its last, linear layer (changed in place)."""
    model = weights.model.eval().requires_grad_(False)
    model.model[-1].linear = torch.nn.Identity()
    return model


def features(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what takes inputs (n, 3, H, W) to features (n, dim) of a model without classes."""

    def encode(images: torch.Tensor) -> torch.Tensor:
        # Of what answers, the probabilities come first, and then what they were made of.
        found: torch.Tensor = model(images)[1]
        return found

    return encode
