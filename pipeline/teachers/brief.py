"""Sentences encoded as far as they go: a prompt has ten tokens, and a text tower room for 77.

Where every token sees only those before it, and a sentence's vector is read off its last token,
what stands behind that changes nothing (the text tower of Radford et al., 2021). It is filling, and
leaving it out spares most of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pipeline.teachers.library import open_clip

Encode = Callable[[torch.Tensor], torch.Tensor]


def text_encoder(model: Any) -> Encode:
    """Return what encodes tokens (n, context) to features (n, dim) as `model.encode_text` does, up
    to rounding, and reads none behind the longest sentence; or for text towers of which that cannot
    be said, `model.encode_text` itself.

    Args:
        model: of open_clip, with its text tower in fp32.
    """
    if type(model) is open_clip.CLIP and _reads_forward(model, model.text_pool_type):
        return _Brief(model)
    tower: Any = getattr(model, "text", None)
    plain = type(model) is open_clip.CustomTextCLIP
    plain &= type(tower) is open_clip.transformer.TextTransformer
    # Of a token for the whole sentence, which is put at the end, none of this is true.
    if plain and tower.cls_emb is None and _reads_forward(tower, tower.pool_type):
        return _Brief(tower)
    encode: Encode = model.encode_text
    return encode


def _reads_forward(tower: Any, pool: str) -> bool:
    """Whether no token sees a later one, and the one with the highest number is the last."""
    mask = tower.attn_mask
    if pool != "argmax" or mask is None:
        return False
    forward = torch.full_like(mask, -torch.inf).triu(1)
    return torch.equal(mask, forward)


class _Brief:
    def __init__(self, tower: Any) -> None:
        self._tower = tower

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        tower, last = self._tower, tokens.argmax(dim=-1)
        longest = int(last.max()) + 1
        x = tower.token_embedding(tokens[:, :longest]) + tower.positional_embedding[:longest]
        x = tower.transformer(x, attn_mask=tower.attn_mask[:longest, :longest])
        pooled = tower.ln_final(x)[torch.arange(len(x), device=x.device), last]
        projection = tower.text_projection
        if projection is None:
            return pooled  # type: ignore[no-any-return]
        found: torch.Tensor = (
            projection(pooled) if isinstance(projection, torch.nn.Linear) else pooled @ projection
        )
        return found
