"""Where in a picture a student finds what speaks for each class."""

from __future__ import annotations

from typing import Any

import torch


def evidence(model: Any, last_layer: Any, images: torch.Tensor) -> torch.Tensor:
    """Return what each place of pictures adds to each class's logit, (n, classes, h, w): class
    activation maps (Zhou et al., 2016).

    A classifier of ultralytics ends in a mean over places and a linear layer, and both may change
    their order: the mean of a class's map is its logit, less the layer's bias. So these maps are no
    estimate of what the student goes by, but all of it.

    Args:
        model: of ultralytics, whose last layer may have been taken off.
        last_layer: the linear one.
        images: (n, 3, H, W), prepared.
    """
    seen: list[torch.Tensor] = []

    def keep(_: Any, given: tuple[torch.Tensor, ...]) -> None:
        seen.append(given[0])

    # The pool takes the mean over places; it is given what there is at each of them.
    hook = model.model[-1].pool.register_forward_pre_hook(keep)
    try:
        model(images)
    finally:
        hook.remove()
    return torch.einsum("nfhw,cf->nchw", seen[0].float(), last_layer.weight)
