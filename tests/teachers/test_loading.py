"""Models are loaded as open_clip itself would, to the bit, and nothing in them stays undefined."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import TeacherError
from pipeline.teachers import loading
from pipeline.teachers.known_weights import Facts
from tests.tiny_models import PREPROCESS, TOWER, load

_VISION, _TEXT = TOWER["vision_cfg"], TOWER["text_cfg"]


def _timm(name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"timm_model_name": name, "timm_model_pretrained": False, "image_size": size, **more}


# One of each way in which the models of open_clip are put together.
KINDS: dict[str, dict[str, Any]] = {
    "CLIP": {},
    "CLIP with QuickGELU": {"quick_gelu": True},
    "CLIP with a bias": {"init_logit_bias": -4.0},
    "CLIP of a ResNet": {
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "image_size": 64, "patch_size": None},
    },
    "text tower of its own": {"custom_text": True},
    "fixed positions": {
        "vision_cfg": _VISION | {"pos_embed_type": "sin_cos_2d", "no_ln_pre": True},
    },
    "CoCa": {
        "custom_text": True,
        "vision_cfg": _VISION
        | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": _TEXT | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": _TEXT | {"attn_pooler_heads": 2},
    },
    "SigLIP": {
        "custom_text": True,
        "init_logit_bias": -10.0,
        "vision_cfg": _timm("vit_tiny_patch16_224", 224, timm_pool="map", timm_proj="none"),
        "text_cfg": _TEXT | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
        "embed_dim": 192,
    },
    "Perception Encoder": {
        "custom_text": True,
        "vision_cfg": _timm("vit_pe_core_tiny_patch16_384", 384, timm_pool="map", timm_proj=None),
    },
    "MobileCLIP": {
        "custom_text": True,
        "vision_cfg": _timm("fastvit_mci0", 64, timm_pool="avg", timm_proj=None),
        "text_cfg": _TEXT | {"no_causal_mask": True},
    },
    "RegNet": {"vision_cfg": _timm("regnetx_002", 64, timm_pool="avg", timm_proj="linear")},
}


@contextmanager
def undefined_is_nan() -> Iterator[None]:
    """Have torch fill memory that nobody has written to."""
    assert torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(8).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def write(folder: Path, kind: str) -> Path:
    """Write a random model as `local-dir:` wants it; returns its weights."""
    config = TOWER | KINDS[kind]
    folder.mkdir(exist_ok=True)
    told = {"model_cfg": config, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    for tensor in model.parameters():  # gains of one and shifts of nought would hide a mistake
        torch.nn.init.normal_(tensor, std=0.1)
    weights = folder / "open_clip_model.safetensors"
    save_file({key: of.contiguous() for key, of in model.state_dict().items()}, weights)
    return weights


def everything_in(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights and buffers, with those that no file holds, and what else is a tensor."""
    found = dict([*model.named_parameters(), *model.named_buffers()])
    for name, module in model.named_modules():
        bare = {key: of for key, of in vars(module).items() if isinstance(of, torch.Tensor)}
        found |= {f"{name}.{key}": of for key, of in bare.items()}
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_the_librarys_own_to_the_bit(kind: str, tmp_path: Path) -> None:
    weights = write(tmp_path, kind)
    name = f"local-dir:{tmp_path}"
    wanted = open_clip.create_model(name, require_pretrained=True).eval()
    with undefined_is_nan():
        found = loading.load_model(name, weights, None, Facts({}, None, {}), "cpu").eval()
    ours, theirs = everything_in(found), everything_in(wanted)
    assert ours.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert not ours[key].isnan().any(), key
        assert torch.equal(ours[key], tensor) and ours[key].dtype == tensor.dtype, key
    assert found.visual.preprocess_cfg == wanted.visual.preprocess_cfg
    size = wanted.visual.preprocess_cfg["size"]
    images = torch.randn(2, 3, *((size, size) if isinstance(size, int) else size))
    words = open_clip.get_tokenizer(name)(["a red ball", "two"])
    # Where in memory a weight lies decides with which kernel it is multiplied, and so the last bit
    # of an answer: the library's model and a deep copy of it can differ in it, too.
    with torch.inference_mode():
        for answer, expected in (
            (found.encode_image(images), wanted.encode_image(images)),
            (found.encode_text(words), wanted.encode_text(words)),
        ):
            torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-6)


def test_weights_in_half_precision_are_computed_with_in_full(tmp_path: Path) -> None:
    place = write(tmp_path, "CLIP")
    model = open_clip.create_model(f"local-dir:{tmp_path}").half()
    save_file({key: of.contiguous() for key, of in model.state_dict().items()}, place)
    found = loading.load_model(f"local-dir:{tmp_path}", place, None, Facts({}, None, {}), "cpu")
    assert {of.dtype for of in found.parameters()} == {torch.float32}


def test_a_file_without_one_of_the_weights_is_refused(tmp_path: Path) -> None:
    place = write(tmp_path, "CLIP")
    model = open_clip.create_model(f"local-dir:{tmp_path}")
    held = {key: of.contiguous() for key, of in model.state_dict().items()}
    save_file({key: of for key, of in held.items() if "ln_post.bias" not in key}, place)
    with pytest.raises(TeacherError, match=r"cannot be loaded: .*ln_post\.bias"):
        load(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_file_that_is_overwritten_changes_no_image_vector(tmp_path: Path, precision: str) -> None:
    import numpy as np

    place = write(tmp_path, "CLIP")
    teacher = load(f"local-dir:{tmp_path}", precision=precision)
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    before = teacher.embed_images([image])
    with place.open("r+b") as file:
        file.seek(place.stat().st_size // 2)
        file.write(bytes(place.stat().st_size // 2))
    assert (teacher.embed_images([image]) == before).all()
