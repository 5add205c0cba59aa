"""Spaces of the transformers library: vision models, and the sight of its two-tower models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.config import SpaceConfig
from pipeline.errors import TeacherError
from pipeline.files import fingerprint
from pipeline.imports import all_of_torch
from pipeline.machine import pick_device
from pipeline.pixels import READING
from pipeline.spaces.tower import space_of
from pipeline.teachers import transformers as two_towers
from pipeline.teachers.base import Sight
from pipeline.teachers.precision import pick_precision
from pipeline.teachers.towers import weights_digest

_POOLER = "pooler."
_SIDES = (64, 64)
_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")


def repository_of(settings: SpaceConfig) -> str | None:
    """The repository of the Hugging Face hub with the model; None for a folder."""
    return two_towers.repository_of(settings)


def check_names(settings: SpaceConfig) -> None:
    """Refuse a folder that is not there.

    Raises:
        TeacherError: it is not.
    """
    if settings.model.startswith("local-dir:"):
        folder = Path(settings.model.removeprefix("local-dir:"))
        if not (folder / "config.json").is_file():
            raise TeacherError(
                f"{folder} has no config.json. `local-dir:` names a folder that `save_pretrained` "
                "of transformers wrote."
            )


def load(settings: SpaceConfig) -> Sight:
    """Load a vision model of the hub (`org/name`) or of a folder (`local-dir:folder`).

    A model that reads texts, too, is loaded as the teacher that it is, and shares its vectors.

    Raises:
        TeacherError: unknown names, missing or damaged weights, no way to download them, a model
            that sees no images, or one that brings its own code where that was not allowed.
    """
    all_of_torch()
    import transformers  # whether it is there is known above, with a sentence

    device = pick_device(settings.device)
    with two_towers.loading(settings, device) as (place, options):
        config = transformers.AutoConfig.from_pretrained(place, **options)
    if hasattr(config, "text_config") and hasattr(config, "vision_config"):
        return two_towers.load(settings)
    with two_towers.loading(settings, device) as (place, options):
        images = transformers.AutoImageProcessor.from_pretrained(place, **options)
        model, report = transformers.AutoModel.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, **options
        )
    missing = set(report["missing_keys"])
    # Classifiers are published without a pooler, which transformers would fill with random numbers.
    untrained = {name for name in missing if name.startswith(_POOLER)}
    two_towers.refuse_holes(place, missing - untrained)
    if getattr(model, "main_input_name", "") != "pixel_values":
        raise TeacherError(
            f"{place} is a {type(model).__name__}, which does not see images. Choose a model such "
            "as facebook/dinov2-small."
        )
    model = model.eval().requires_grad_(False).to(device)
    precision = pick_precision(settings.precision, device, model)
    preprocessing = {k: v for k, v in images.to_dict().items() if "version" not in k}
    without = (_POOLER,) if untrained else ()
    digest = weights_digest(preprocessing, model, without)

    def transform(image: Image.Image) -> np.ndarray:
        found: np.ndarray = images(images=image, return_tensors="np")["pixel_values"][0]
        return found

    with torch.inference_mode():
        blank = torch.from_numpy(transform(Image.new("RGB", _SIDES))[None]).to(device)
        pools = getattr(model(pixel_values=blank), "pooler_output", None) is not None
    pooling = "its own" if pools and not untrained else _pooling_of(model)

    return space_of(
        f"transformers {two_towers.name_of(settings)}",
        model,
        lambda pixels: _pooled(model(pixel_values=pixels), pooling),
        fingerprint("transformers", digest, READING, pooling, precision),
        None,
        transform,
        device,
        precision,
    )


def _pooling_of(model: Any) -> str:
    """How the last layer becomes one vector: its class token, or the mean where it has none."""
    names = [name for name, _ in model.named_parameters()]
    classed = any(name.split(".")[-1] in _CLASS_TOKENS for name in names)
    return "class token" if classed else "mean"


def _pooled(answer: Any, pooling: str) -> torch.Tensor:
    """Return features (n, dim) of a vision model's answer."""
    if pooling == "its own":
        pooled: torch.Tensor = answer.pooler_output
        return pooled.flatten(1)
    last: torch.Tensor = answer.last_hidden_state
    if last.ndim == 4:  # (n, dim, height, width)
        return last.mean(dim=(2, 3))
    return last[:, 0] if pooling == "class token" else last.mean(dim=1)
