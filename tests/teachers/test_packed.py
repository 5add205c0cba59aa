"""Packed weights answer as torch's own path does, in towers of every kind, or are not used."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from pipeline.files import cache_dir
from pipeline.teachers.packed import (
    WORTHWHILE,
    PackedLinear,
    PackedPatches,
    pack,
    pack_where_faster,
)
from pipeline.teachers.precision import lower, multiplies_bf16
from pipeline.teachers.rearranged import rearrange
from tests.fakes import picture
from tests.tiny_models import KINDS, load, tower_of, write_model

pytestmark = pytest.mark.skipif(
    not multiplies_bf16(),
    reason="this processor does not multiply bf16 as weights are packed for",
)


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """How far vectors are from others, on the mean, in units of their length."""
    unit = nn.functional.normalize
    return float((unit(found.float()) - unit(wanted)).norm(dim=-1).mean())


def kinds_of(tower: nn.Module) -> list[type]:
    return [type(module) for module in tower.modules()]


def packed(tower: nn.Module, side: int = 32) -> tuple[float, float]:
    """Pack a tower of fp32; return how far from fp32 bf16 alone is, and packed bf16."""
    images = torch.randn(8, 3, side, side)
    with torch.inference_mode():
        wanted = tower(images)
        lower(tower, "bf16")
        images = images.bfloat16()
        usual = tower(images)
        assert pack(tower, tower, images[:2], 8)
        # Other numbers of images than were packed for, too.
        found = torch.cat([tower(images[:7]), tower(images[7:])])
    return off(usual, wanted), off(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_as_near_to_fp32_as_without(kind: str) -> None:
    tower = tower_of(kind).visual
    rearrange(tower)
    usual, found = packed(tower, tower.image_size[0])
    assert 0 < found < 1.25 * usual
    kinds = kinds_of(tower)
    assert kinds.count(PackedPatches) == 1 and PackedLinear in kinds
    if kind in ("plain", "quick GELU"):
        assert nn.Linear not in kinds and not {nn.GELU, nn.SiLU} & {*kinds}


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "silu", "relu"])
def test_activations_are_known_by_what_they_do(activation: str) -> None:
    torch.manual_seed(0)
    tower = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=2, num_classes=0, act_layer=activation
    )
    usual, found = packed(tower.eval().requires_grad_(False))
    assert 0 < found < 1.25 * usual
    assert all(isinstance(block.mlp.act, nn.Identity) for block in tower.blocks)


def test_a_tower_like_siglips() -> None:
    torch.manual_seed(0)
    tower = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=2, num_classes=0, class_token=False,
        global_pool="map", act_layer="gelu_tanh",
    )  # fmt: skip
    usual, found = packed(tower.eval().requires_grad_(False))
    assert 0 < found < 1.25 * usual
    assert nn.Linear not in kinds_of(tower)


def test_gates_are_left_alone() -> None:
    torch.manual_seed(0)
    tower = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=2, num_classes=0,
        mlp_layer=timm.layers.GluMlp, act_layer="silu",
    )  # fmt: skip
    usual, found = packed(tower.eval().requires_grad_(False))
    assert 0 < found < 1.25 * usual
    assert not any(isinstance(block.mlp.act, nn.Identity) for block in tower.blocks)


def test_convolutions_stay() -> None:
    torch.manual_seed(0)
    tower = timm.create_model("fastvit_t8", num_classes=0).eval().requires_grad_(False)
    before = kinds_of(tower).count(nn.Conv2d)
    lower(tower, "bf16")
    images = torch.randn(2, 3, 64, 64).bfloat16()
    with torch.inference_mode():
        pack(tower, tower, images, 8)
    assert kinds_of(tower).count(nn.Conv2d) == before > 20


class _ReadsWeights(nn.Module):
    """Asks one layer, and multiplies by another one's weights itself, as some models do."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.one, self.act, self.two = nn.Linear(48, 48), nn.GELU(), nn.Linear(48, 16)
        self.twice = twice

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images.flatten(1)[:, :48]
        result = self.one(rows)
        result = self.act(result) + result if self.twice else self.act(result)
        return nn.functional.linear(result, self.two.weight, self.two.bias)


def test_weights_that_are_read_stay() -> None:
    tower = _ReadsWeights(twice=False)
    packed(tower)
    assert isinstance(tower.one, PackedLinear) and isinstance(tower.two, nn.Linear)
    assert isinstance(tower.act, nn.Identity)


def test_an_activation_is_not_taken_from_who_wants_both() -> None:
    tower = _ReadsWeights(twice=True)
    usual, found = packed(tower)
    assert found < 1.25 * usual
    assert isinstance(tower.one, PackedLinear) and isinstance(tower.act, nn.GELU)


class _Insists(nn.Module):
    """Refuses to work with any layer but its own."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(48, 16)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.one.weight.shape != (16, 48):
            raise RuntimeError("where are my weights?")
        result: torch.Tensor = self.one(images.flatten(1)[:, :48])
        return result


def test_a_tower_that_refuses_is_left_as_it_was() -> None:
    tower = _Insists().bfloat16()
    images, whole = torch.randn(2, 3, 8, 8).bfloat16(), copy.deepcopy(tower)
    with torch.inference_mode():
        assert not pack(tower, tower, images, 8)
        assert torch.equal(tower(images), whole(images))
    assert isinstance(tower.one, nn.Linear)


@pytest.mark.parametrize("kind", ["plain", "quick GELU", "mean of tokens"])
def test_in_fp32_only_the_last_bits_change(kind: str) -> None:
    tower = tower_of(kind).visual
    rearrange(tower)
    images = torch.randn(8, 3, 32, 32)
    with torch.inference_mode():
        wanted = tower(images)
        put_back = pack(tower, tower, images[:2], 8)
        assert put_back is not None and nn.Linear not in kinds_of(tower)
        assert torch.allclose(tower(images), wanted, atol=1e-5)
        put_back()
        assert torch.equal(tower(images), wanted)
    assert PackedLinear not in kinds_of(tower)


def test_bf16_is_packed_from_some_images_on() -> None:
    tower = tower_of("plain").visual
    lower(tower, "bf16")
    example = torch.randn(4, 3, 32, 32).bfloat16()
    assert not pack_where_faster(tower, tower, example, WORTHWHILE - 1, "t")
    assert nn.Linear in kinds_of(tower)
    assert pack_where_faster(tower, tower, example, WORTHWHILE, "t")
    assert PackedLinear in kinds_of(tower)
    assert not (cache_dir() / "packed").exists()  # nothing was measured


def test_fp32_is_tried_once_in_a_long_run_and_remembered() -> None:
    tower = tower_of("plain").visual
    example = torch.randn(4, 3, 32, 32)
    assert not pack_where_faster(tower, tower, example, 1000, "t")
    assert not (cache_dir() / "packed").exists()
    found = pack_where_faster(tower, tower, example, 10**6, "t")
    (record,) = (cache_dir() / "packed").iterdir()
    rates = json.loads(record.read_text())
    assert found == (rates["compiled"] < rates["eager"]) == (PackedLinear in kinds_of(tower))
    for compiled, packs in ((0.5, True), (1.5, False)):
        record.write_text(json.dumps({"eager": 1.0, "compiled": compiled, "seconds": 0.0}))
        tower = tower_of("plain").visual
        assert pack_where_faster(tower, tower, example, 1000, "t") == packs
        assert (PackedLinear in kinds_of(tower)) == packs


def test_convolutions_in_fp32_are_not_even_tried() -> None:
    tower = nn.Sequential(nn.Conv2d(3, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    example = torch.randn(4, 3, 32, 32)
    assert not pack_where_faster(tower, tower, example, 10**6, "t")
    assert not (cache_dir() / "packed").exists()


def test_a_teacher_answers_as_before_once_it_is_ready_for_many(tmp_path: Path) -> None:
    write_model(tmp_path)
    teacher = load(f"local-dir:{tmp_path}", precision="bf16")
    images = [teacher.prepare(picture(name, 3)) for name in ("red", "blue", "red")]
    before, texts = teacher.embed_images(images), teacher.embed_texts(["a cat"])
    key = teacher.fingerprint
    for compiling in ("auto", "never", "auto"):
        teacher.get_ready(1000, 8, compiling)
        assert teacher.embed_images(images) == pytest.approx(before, abs=0.02)
    assert (teacher.embed_images(images) != before).any()  # rounded in other places
    assert (teacher.embed_texts(["a cat"]) == texts).all()
    assert teacher.fingerprint == key


def test_streams_share_packed_weights() -> None:
    tower = tower_of("plain").visual
    rearrange(tower)
    packed(tower)
    images = torch.randn(6, 5, 3, 32, 32).bfloat16()

    @torch.inference_mode()
    def encode(batch: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = tower(batch)
        return result

    wanted = [encode(batch) for batch in images]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(20):
            found = list(pool.map(encode, images))
            assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
