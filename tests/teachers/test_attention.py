"""The rearranged attention computes what torch's own module does, from the same weights."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch import nn

from pipeline.teachers.attention import SelfAttention, rearrange
from tests.tiny_models import TOWER


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [1, 50, 200])
def test_it_is_torchs_own(tokens: int, bias: bool) -> None:
    torch.manual_seed(0)
    given = nn.MultiheadAttention(48, 3, bias=bias, batch_first=True).eval()
    images = torch.randn(4, tokens, 48)
    with torch.inference_mode():
        wanted, _ = given(images, images, images, need_weights=False)
        found, _ = SelfAttention(given)(images, images, images)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_only_what_is_known_is_replaced() -> None:
    model = open_clip.CLIP(**TOWER).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        wanted = model.encode_image(images)
        rearrange(model.visual)
        assert torch.allclose(model.encode_image(images), wanted, atol=1e-5)
    kinds = [type(block.attn) for block in model.visual.transformer.resblocks]
    assert set(kinds) == {SelfAttention}
    block = open_clip.transformer.ResidualAttentionBlock(32, 2, is_cross_attention=True)
    rearrange(block)
    assert type(block.attn) is nn.MultiheadAttention
