"""Self-attention of an image tower, written out so that it is fast as it is and can be compiled.

torch's `nn.MultiheadAttention` has a fast path of its own, but compiled it falls back to one that
copies the weights for every image (2.14): measured on a ViT-B/32 in bf16, three times as slow. What
is faster than torch's fused kernel on a processor, and where, was measured on AVX512-BF16.
"""

from __future__ import annotations

import torch
from torch import nn

# Rows that are shorter are softened in fp32: in bf16, torch's kernel then spends its time on the
# elements that fill no register.
_SHORT_ROW = 128
# Pairs of tokens that are compared at once. Their matrix and the copies of queries, keys and values
# then stay in a core's own cache.
_PAIRS = 1 << 20


class SelfAttention(nn.Module):
    """Stands in for a batch-first `nn.MultiheadAttention` that is asked without a mask.

    Args:
        given: the module whose weights are used; both share them.
    """

    def __init__(self, given: nn.MultiheadAttention) -> None:
        super().__init__()
        self._heads = given.num_heads
        self.inward = _linear(given, 0, 3)
        self.outward = given.out_proj

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Return (n, tokens, dim) for tokens (n, tokens, dim) that attend to themselves."""
        assert attn_mask is None and not need_weights
        count, tokens, dim = query.shape
        parts = self.inward(query).view(count, tokens, 3, self._heads, dim // self._heads)
        if query.device.type == "cpu" and query.dtype == torch.bfloat16:
            mixed = attend(parts)
        else:
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.outward(mixed.reshape(count, tokens, dim)), None


class FirstTokenAttention(nn.Module):
    """What `SelfAttention` gives for the first token alone: all others need no query.

    Args:
        given: the module whose weights are used; both share them.
    """

    def __init__(self, given: nn.MultiheadAttention) -> None:
        super().__init__()
        self._heads = given.num_heads
        self.asking = _linear(given, 0, 1)
        self.inward = _linear(given, 1, 3)
        self.outward = given.out_proj

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n, 1, dim) for tokens (n, tokens, dim)."""
        count, tokens, dim = images.shape
        size = dim // self._heads
        q = self.asking(images[:, :1]).view(count, 1, self._heads, size).transpose(1, 2)
        parts = self.inward(images).view(count, tokens, 2, self._heads, size)
        k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        mixed_token: torch.Tensor = self.outward(mixed.reshape(count, 1, dim))
        return mixed_token


def _linear(given: nn.MultiheadAttention, start: int, end: int) -> nn.Linear:
    """The part of the inward projection that makes queries (0), keys (1), values (2)."""
    width, bias = given.embed_dim, given.in_proj_bias
    part = slice(start * width, end * width)
    linear = nn.Linear(width, (end - start) * width, bias is not None, device="meta")
    linear.weight = nn.Parameter(given.in_proj_weight.detach()[part], requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach()[part], requires_grad=False)
    return linear


def attend(parts: torch.Tensor) -> torch.Tensor:
    """Return (n, tokens, heads, size) for queries, keys and values (n, tokens, 3, heads, size)."""
    count, tokens, _, heads, size = parts.shape
    mixed = parts.new_empty(count, tokens, heads, size)
    at_once = max(1, _PAIRS // (heads * tokens * tokens))
    kind = torch.float32 if tokens < _SHORT_ROW else parts.dtype
    for start in range(0, count, at_once):
        some = parts[start : start + at_once]
        # One copy in the order of the products, which would else make three.
        q, k, v = some.permute(2, 0, 3, 1, 4).reshape(3, -1, tokens, size)
        alike = torch.baddbmm(q.new_empty(1), q, k.transpose(1, 2), beta=0, alpha=size**-0.5)
        weights = alike.softmax(dim=-1, dtype=kind).to(v.dtype)
        of_heads = torch.bmm(weights, v).view(-1, heads, tokens, size)
        mixed[start : start + at_once] = of_heads.transpose(1, 2)
    return mixed
