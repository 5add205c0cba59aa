"""A rearranged tower computes what open_clip's own does, whatever its kind."""

from __future__ import annotations

import open_clip
import pytest
import torch
from torch import nn

from pipeline.teachers.attention import SelfAttention
from pipeline.teachers.rearranged import rearrange
from tests.tiny_models import KINDS, tower_of

_BY_FIRST_TOKEN = {"plain", "quick GELU", "no norm before", "norm after pooling", "scaled layers"}


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_it_answers_as_before(kind: str) -> None:
    model = tower_of(kind)
    images = torch.randn(3, 3, *model.visual.image_size)
    wanted = model.encode_image(images)
    rearrange(model.visual)
    assert torch.allclose(model.encode_image(images), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "timm"])
@torch.inference_mode()
def test_the_last_block_computes_one_token_where_no_other_is_used(kind: str) -> None:
    model = tower_of(kind)
    rearrange(model.visual)
    shapes = []
    last = model.visual.transformer.resblocks[-1]
    last.register_forward_hook(lambda module, given, result: shapes.append(result.shape))
    model.encode_image(torch.randn(3, 3, 32, 32))
    assert shapes == [(3, 1 if kind in _BY_FIRST_TOKEN else 17, 32)]


def test_quick_gelu_goes_and_the_files_weights_stay_as_they_are() -> None:
    model = tower_of("quick GELU")
    first = model.visual.transformer.resblocks[0].mlp
    weight, kept = first.c_fc.weight.data, first.c_fc.weight.data.clone()
    rearrange(model.visual)
    assert not any(isinstance(part, open_clip.transformer.QuickGELU) for part in first)
    assert torch.equal(weight, kept)


def test_only_what_is_known_is_replaced() -> None:
    model = tower_of("pooled by attention")
    rearrange(model.visual)
    kinds = [type(block.attn) for block in model.visual.transformer.resblocks]
    assert set(kinds) == {SelfAttention}
    block = open_clip.transformer.ResidualAttentionBlock(32, 2, is_cross_attention=True)
    rearrange(block)
    assert type(block.attn) is nn.MultiheadAttention
