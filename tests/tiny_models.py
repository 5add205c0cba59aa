"""Random CLIPs in open_clip's own format, small enough to be made for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from pipeline.config import TeacherConfig
from pipeline.teachers import load_teacher

TOWER: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    "text_cfg": {
        "context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1,
    },
}  # fmt: skip
PREPROCESS = {
    "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3],
    "interpolation": "bicubic", "resize_mode": "shortest",
}  # fmt: skip

# How an image tower may differ from the plain one.
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "quick GELU": {"quick_gelu": True},
    "no norm before": {"no_ln_pre": True},
    "norm after pooling": {"final_ln_after_pool": True},
    "scaled layers": {"ls_init_value": 0.1},
    "mean of tokens": {"pool_type": "avg"},
    "pooled by attention": {"attentional_pool": True, "attn_pooler_heads": 2},
    "blocks of another kind": {"block_type": "custom", "scale_fc": True},
    "timm": {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "avg", "image_size": 224},
}


def load(model: str, **settings: Any) -> Any:
    return load_teacher(TeacherConfig(model=model, **({"device": "cpu"} | settings)))


def write_model(folder: Path, seed: int = 0, bias: float | None = None) -> Any:
    """Write a random model as open_clip's `local-dir:` wants it; returns the model itself."""
    torch.manual_seed(seed)
    options = {} if bias is None else {"init_logit_bias": bias}
    model = open_clip.CLIP(**TOWER, **options).eval()
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    config = {"model_cfg": TOWER | options, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return model


def tower_of(kind: str) -> open_clip.CLIP:
    """A random CLIP with two blocks, whose image tower is of that kind."""
    torch.manual_seed(0)
    options = dict(KINDS[kind])
    quick = options.pop("quick_gelu", False)
    vision = TOWER["vision_cfg"] | {"layers": 2} | options
    model = open_clip.CLIP(TOWER["embed_dim"], vision, TOWER["text_cfg"], quick_gelu=quick)
    return model.eval().requires_grad_(False)
