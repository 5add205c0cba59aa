"""Spaces with a name of their own: image towers that are worth choosing between."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SpacePreset:
    """A published image tower, and what its publishers say of it.

    `knn` is the top-1 of nearest neighbours on ImageNet-1k, in percent, that `source` reports for
    towers that were trained without its labels; None where no figure was found. What was trained
    with them has been shown the answers, so that no such figure compares.
    """

    name: str
    kind: str
    model: str
    parameters: float  # millions, without a classifying head
    input_size: int  # pixels, the side of the square that is taken here
    licence: str
    knn: float | None
    source: str  # of licence and figure
    about: str
    weights: str  # the repository of the Hugging Face hub that holds them


_DINOV2 = "model cards of timm, README of facebookresearch/dinov2"
_CARDS = "model card of timm"

PRESETS = {
    preset.name: preset
    for preset in (
        SpacePreset(
            "dinov2-small", "timm", "vit_small_patch14_dinov2.lvd142m", 22.1, 224, "Apache-2.0",
            79.0, _DINOV2, "learned without labels or words; the one to try first",
            "timm/vit_small_patch14_dinov2.lvd142m",
        ),
        SpacePreset(
            "dinov2-base", "timm", "vit_base_patch14_dinov2.lvd142m", 86.6, 224, "Apache-2.0",
            82.1, _DINOV2, "the same, larger: four times the time",
            "timm/vit_base_patch14_dinov2.lvd142m",
        ),
        SpacePreset(
            "dinov2-small-reg", "timm", "vit_small_patch14_reg4_dinov2.lvd142m", 22.1, 224,
            "Apache-2.0", 79.1, _DINOV2, "dinov2-small with registers",
            "timm/vit_small_patch14_reg4_dinov2.lvd142m",
        ),
        SpacePreset(
            "dinov2-base-reg", "timm", "vit_base_patch14_reg4_dinov2.lvd142m", 86.6, 224,
            "Apache-2.0", 82.0, _DINOV2, "dinov2-base with registers",
            "timm/vit_base_patch14_reg4_dinov2.lvd142m",
        ),
        SpacePreset(
            "dinov3-small", "timm", "vit_small_patch16_dinov3.lvd1689m", 21.6, 256, "DINOv3",
            None, _CARDS, "the next generation, under a licence of its own",
            "timm/vit_small_patch16_dinov3.lvd1689m",
        ),
        SpacePreset(
            "efficientnet-lite0", "timm", "tf_efficientnet_lite0.in1k", 3.4, 224, "Apache-2.0",
            None, _CARDS, "trained on the labels of ImageNet-1k; small and quick",
            "timm/tf_efficientnet_lite0.in1k",
        ),
        SpacePreset(
            "convnext-tiny", "timm", "convnext_tiny.in12k_ft_in1k", 27.8, 224, "Apache-2.0",
            None, _CARDS, "trained on the labels of ImageNet-12k and 1k",
            "timm/convnext_tiny.in12k_ft_in1k",
        ),
    )
}  # fmt: skip
