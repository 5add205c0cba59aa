"""The attention written out computes what torch's own module does, from the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.teachers.attention import FirstTokenAttention, SelfAttention


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [1, 50, 200])
def test_it_is_torchs_own(tokens: int, bias: bool) -> None:
    torch.manual_seed(0)
    given = nn.MultiheadAttention(48, 3, bias=bias, batch_first=True).eval()
    images = torch.randn(4, tokens, 48)
    with torch.inference_mode():
        wanted, _ = given(images, images, images, need_weights=False)
        found, _ = SelfAttention(given)(images, images, images)
        first = FirstTokenAttention(given)(images)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.allclose(first, wanted[:, :1], atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 50, 127, 128, 700])  # the last: one image at a time
def test_in_bf16_it_is_as_near_to_fp32_as_torchs_own(tokens: int) -> None:
    torch.manual_seed(0)
    given = nn.MultiheadAttention(48, 3, batch_first=True).eval()
    images = torch.randn(3, tokens, 48)
    with torch.inference_mode():
        wanted, _ = given(images, images, images, need_weights=False)
        given, images = given.bfloat16(), images.bfloat16()
        usual, _ = given(images, images, images, need_weights=False)
        found, _ = SelfAttention(given)(images, images, images)
        first = FirstTokenAttention(given)(images)
    off = (usual - wanted).square().mean().sqrt()
    assert (found - wanted).square().mean().sqrt() < 1.5 * off
    assert (first - wanted[:, :1]).square().mean().sqrt() < 3 * off
