"""An image tower of open_clip, rearranged to compute the same with less.

What changes nothing but the rounding of the last bits: attention is written out, the last block
computes only the token that becomes the vector, and the quick GELU of OpenAI's models, three passes
over the widest tensor, becomes a SiLU between weights that were scaled to fit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pipeline.teachers.attention import FirstTokenAttention, SelfAttention
from pipeline.teachers.library import open_clip

_QUICK = 1.702  # x · sigmoid(1.702 x), Hendrycks & Gimpel (2016)


class _FirstTokenBlock(nn.Module):
    """What a block gives for the first token."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.attn = FirstTokenAttention(block.attn)
        self.ln_1, self.ls_1 = block.ln_1, block.ls_1
        self.ln_2, self.ls_2 = block.ln_2, block.ls_2
        self.mlp = block.mlp

    def forward(self, images: torch.Tensor, attn_mask: None = None) -> torch.Tensor:
        """Return (n, 1, dim) for tokens (n, tokens, dim)."""
        token = images[:, :1] + self.ls_1(self.attn(self.ln_1(images)))
        out: torch.Tensor = token + self.ls_2(self.mlp(self.ln_2(token)))
        return out


def rearrange(tower: Any) -> None:
    """Replace parts of a tower in place, where they are of the known kind, while it is in fp32."""
    if type(tower) is open_clip.transformer.VisionTransformer and _uses_first_token(tower):
        blocks = tower.transformer.resblocks
        if _is_known(blocks[-1]):
            blocks[-1] = _FirstTokenBlock(blocks[-1])
    for block in tower.modules():
        if isinstance(block, open_clip.transformer.ResidualAttentionBlock) and _is_known(block):
            block.attn = SelfAttention(block.attn)
    for block in tower.modules():
        if isinstance(block, open_clip.transformer.ResidualAttentionBlock | _FirstTokenBlock):
            _without_quick_gelu(block.mlp)


def _uses_first_token(tower: Any) -> bool:
    pooled = tower.attn_pool is None and tower.pool_type == "tok"
    return bool(pooled and not tower.output_tokens and tower.transformer.batch_first)


def _is_known(block: Any) -> bool:
    if type(block) is not open_clip.transformer.ResidualAttentionBlock or hasattr(block, "ln_1_kv"):
        return False
    given = block.attn
    if type(given) is not nn.MultiheadAttention or not given.batch_first:
        return False
    together = given.in_proj_weight is not None  # query, key and value of one width
    return bool(together and given.bias_k is None and not given.add_zero_attn)


def _without_quick_gelu(mlp: Any) -> None:
    if len(mlp) == 3 and type(mlp[1]) is open_clip.transformer.QuickGELU:
        _scale(mlp[0].weight, _QUICK)
        _scale(mlp[0].bias, _QUICK)
        _scale(mlp[2].weight, 1 / _QUICK)
        mlp[1] = nn.SiLU()


def _scale(weights: nn.Parameter, factor: float) -> None:
    weights.data = weights.data * factor  # a copy: what is loaded from a file may not be written to
