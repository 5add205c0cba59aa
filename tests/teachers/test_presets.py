"""The teachers with a name: known to their libraries, of the size that is told, and sourced."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import Any

import open_clip
import pytest
import torch
from packaging.requirements import Requirement

from pipeline.config import TeacherConfig
from pipeline.errors import TeacherError
from pipeline.teachers import check_names, check_teacher, to_fetch
from pipeline.teachers.presets import PRESETS, check_needs, is_here, weight_bytes

OPEN_CLIP = [one for one in PRESETS.values() if one.kind == "open_clip" and one.pretrained]


def is_met(needs: str | None) -> bool:
    wanted = Requirement(needs) if needs else None
    return wanted is None or wanted.specifier.contains(version(wanted.name))


@pytest.mark.parametrize("name", [one.name for one in OPEN_CLIP])
def test_names_of_model_and_weights_are_known(name: str) -> None:
    preset = PRESETS[name]
    if not is_met(preset.needs):
        pytest.skip(f"{name} needs {preset.needs}")
    check_names(check_teacher(TeacherConfig(model=name, device="cpu")))
    known = open_clip.get_pretrained_cfg(preset.model, preset.pretrained)
    assert known["hf_hub"].rstrip("/") == preset.weights


# The large ones take ten seconds each, even without memory for their weights.
@pytest.mark.parametrize(
    "name",
    [
        one.name if one.parameters < 200 else pytest.param(one.name, marks=pytest.mark.slow)
        for one in OPEN_CLIP
    ],
)
def test_architecture_is_as_told(name: str) -> None:
    """Built without memory for its weights: `meta` tensors have shapes and nothing else."""
    preset = PRESETS[name]
    if not is_met(preset.needs):
        pytest.skip(f"{name} needs {preset.needs}")
    model: Any = open_clip.create_model(preset.model, pretrained=None, device="meta")
    assert {tensor.device for tensor in model.parameters()} == {torch.device("meta")}
    millions = sum(tensor.numel() for tensor in model.parameters()) / 1e6
    assert millions == pytest.approx(preset.parameters, abs=0.51)
    size = model.visual.image_size
    assert (size if isinstance(size, tuple) else (size, size)) == (preset.input_size,) * 2


def test_those_of_transformers_name_their_repository() -> None:
    for preset in PRESETS.values():
        if preset.kind == "transformers":
            assert preset.model == preset.weights and preset.pretrained is None


def test_each_says_licence_and_source() -> None:
    for preset in PRESETS.values():
        assert preset.licence and preset.about and preset.name == preset.name.lower()
        # An address, a file of a repository, or what was looked at in vain.
        assert "/" in preset.source or "arXiv:" in preset.source
        assert preset.imagenet is None or 30 < preset.imagenet < 90
        assert (preset.imagenet is None) == (
            preset.name == "pocket" or preset.source.startswith("no ImageNet figure")
        )


def test_a_library_that_is_too_old_is_one_sentence() -> None:
    newer = replace(PRESETS["clip-vit-b-32"], needs="open-clip-torch>=99.5")
    with pytest.raises(TeacherError) as error:
        check_needs(newer)
    assert str(error.value) == (
        f"The teacher clip-vit-b-32 needs open-clip-torch>=99.5, and version "
        f"{version('open-clip-torch')} is installed. Run `pip install 'open-clip-torch>=99.5'`."
    )
    with pytest.raises(TeacherError, match="and it is not installed"):
        check_needs(replace(newer, needs="no-such-library-of-anybody>=1"))
    check_needs(replace(newer, needs=None))
    check_needs(replace(newer, needs=f"open-clip-torch=={version('open-clip-torch')}"))


def test_weights_in_the_hubs_cache_are_found_and_measured(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout of the hub's cache, as huggingface_hub writes it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    preset = PRESETS["pe-core-s-16"]
    assert not is_here(preset) and weight_bytes("timm/PE-Core-S-16-384") is None
    assert to_fetch(TeacherConfig(model=preset.name, device="cpu")) == preset.weights
    home = tmp_path / "models--timm--PE-Core-S-16-384"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("abc")
    (home / "snapshots" / "abc").mkdir(parents=True)
    (home / "snapshots" / "abc" / "open_clip_model.safetensors").write_bytes(b"x" * 1234)
    assert is_here(preset) and weight_bytes("timm/PE-Core-S-16-384") == 1234
    assert to_fetch(TeacherConfig(model=preset.name, device="cpu")) is None
