"""The pocket teacher's shape: an open_clip model, and the facts of pictures as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pocket_world.captions import COLORS, KINDS, LIGHTS, MANY, PLACES, Facts

# The tokenizer's 49,408 words fill most of the file, so the text tower is narrow; what is left of
# the 10 MB goes to the image tower.
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {
            "timm_model_name": "regnetx_002",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": 64,
        },
        "text_cfg": {
            "context_length": 20,
            "vocab_size": 49408,
            "width": 48,
            "heads": 4,
            "layers": 2,
        },
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}
FIELDS = ("thing", "color", "count", "place", "light")
_VALUES: dict[str, list[Any]] = {
    "thing": KINDS,
    "color": [*COLORS, "none"],
    "count": [0, 1, 2, 3, MANY],
    "place": list(PLACES),
    "light": [*LIGHTS, "plain"],
}


def new_model() -> Any:
    """Build the two towers with random weights."""
    import open_clip

    return open_clip.CLIP(**CONFIG["model_cfg"])


class Heads(nn.Module):
    """A linear head for each fact. They teach the image tower and are thrown away afterwards:
    from scratch, contrast alone learns slowly what one label says at once."""

    def __init__(self) -> None:
        super().__init__()
        width = CONFIG["model_cfg"]["embed_dim"]
        self.parts = nn.ModuleDict({name: nn.Linear(width, len(_VALUES[name])) for name in FIELDS})

    def loss(self, features: Tensor, facts: Tensor) -> Tensor:
        """Mean cross-entropy of features (n, dim) against facts (n, 5); the thing counts most."""
        weights = dict(zip(FIELDS, (1.0, 0.4, 0.3, 0.4, 0.2), strict=True))
        parts = [
            weights[name] * nn.functional.cross_entropy(self.parts[name](features), facts[:, i])
            for i, name in enumerate(FIELDS)
        ]
        return torch.stack(parts).sum()


def encode(facts: Sequence[Facts]) -> Tensor:
    """Facts as whole numbers (n, 5) in the order of FIELDS; -1 where a claim is silent."""
    rows = [
        [-1 if (value := getattr(one, name)) is None else _VALUES[name].index(value)
         for name in FIELDS]
        for one in facts
    ]  # fmt: skip
    return torch.from_numpy(np.array(rows, np.int64))


def holds(claims: Tensor, pictures: Tensor) -> Tensor:
    """Say which claims (c, 5) are true of which pictures (p, 5), as `Facts.true_of`: (p, c)."""
    claim, picture = claims[None], pictures[:, None]
    same = (claim == -1) | (claim == picture)
    count = FIELDS.index("count")
    many = claim[..., count] == _VALUES["count"].index(MANY)
    several = (picture[..., count] == 2) | (picture[..., count] == 3)
    same[..., count] |= many & several
    return same.all(dim=2)
