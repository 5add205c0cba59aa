"""A sentence is encoded no further than it goes, and comes out as open_clip has it."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch

from pipeline.teachers.brief import text_encoder
from tests.tiny_models import TOWER

SENTENCES = ["a red ball", "x", "", "a blue cup on a very old table beside a window and a door"]


def model_of(custom: bool = False, **text: Any) -> Any:
    torch.manual_seed(0)
    settings = TOWER["text_cfg"] | {"layers": 2} | text
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    return kind(TOWER["embed_dim"], TOWER["vision_cfg"], settings).eval().requires_grad_(False)


def tokens_of(*sentences: str) -> torch.Tensor:
    return open_clip.SimpleTokenizer(context_length=TOWER["text_cfg"]["context_length"])(sentences)


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("text", [
    {}, {"proj_bias": True}, {"ls_init_value": 0.1}, {"block_type": "custom", "scale_fc": True},
    {"proj_type": "none", "width": 24},
], ids=str)  # fmt: skip
def test_as_the_model_itself(custom: bool, text: dict[str, Any]) -> None:
    model = model_of(custom, **text)
    encode = text_encoder(model)
    assert encode != model.encode_text
    for some in (SENTENCES, SENTENCES[:1], SENTENCES[3:], SENTENCES[2:3]):
        tokens = tokens_of(*some)
        torch.testing.assert_close(encode(tokens), model.encode_text(tokens), atol=2e-6, rtol=1e-5)


def test_nothing_behind_the_longest_sentence_is_read() -> None:
    model = model_of()
    seen: list[int] = []
    model.transformer.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    text_encoder(model)(tokens_of("a red ball", "a ball"))
    text_encoder(model)(tokens_of(*SENTENCES))
    assert seen == [5, 16]  # with the two that frame it; cut off at the model's 16


@pytest.mark.parametrize("text", [
    {"no_causal_mask": True}, {"pool_type": "last"}, {"pool_type": "first"},
    {"pool_type": "eos", "eos_id": 49407}, {"embed_cls": True},
], ids=str)  # fmt: skip
def test_other_towers_read_everything(text: dict[str, Any]) -> None:
    model = model_of(custom=True, **text)
    assert text_encoder(model) == model.encode_text
