"""Teachers with a name of their own: short names for models that are worth choosing between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class Preset:
    """A published model, and what its publishers say of it.

    `imagenet` is the zero-shot top-1 on ImageNet-1k, in percent, that `source` reports; None where
    no figure was published.
    """

    name: str
    kind: str
    model: str
    pretrained: str | None
    parameters: float  # millions, both towers
    input_size: int  # pixels, the side of the square
    licence: str
    imagenet: float | None
    source: str
    about: str
    weights: str | None = None  # the repository of the Hugging Face hub that holds them


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "pocket", "open_clip", f"local-dir:{ASSETS / 'pocket'}", None, 4.8, 64, "Apache-2.0",
            None, "pipeline/assets/pocket", "comes with clip2yolo; knows 141 words, no photographs",
        ),
        Preset(
            "clip-vit-b-32", "open_clip", "ViT-B-32", "openai", 151, 224, "MIT", 63.2,
            "Radford et al. 2021", "OpenAI's CLIP, the small one",
            "timm/vit_base_patch32_clip_224.openai",
        ),
        Preset(
            "clip-vit-l-14", "open_clip", "ViT-L-14", "openai", 428, 224, "MIT", 75.3,
            "Radford et al. 2021", "OpenAI's CLIP, the large one",
            "timm/vit_large_patch14_clip_224.openai",
        ),
        Preset(
            "metaclip-vit-b-32", "open_clip", "ViT-B-32", "metaclip_fullcc", 151, 224,
            "CC-BY-NC-4.0", 67.6, "Xu et al. 2024", "open training data",
            "timm/vit_base_patch32_clip_224.metaclip_2pt5b",
        ),
        Preset(
            "metaclip-vit-l-14", "open_clip", "ViT-L-14", "metaclip_fullcc", 428, 224,
            "CC-BY-NC-4.0", 79.2, "Xu et al. 2024", "open training data",
            "timm/vit_large_patch14_clip_224.metaclip_2pt5b",
        ),
        Preset(
            "siglip2-b-16", "open_clip", "ViT-B-16-SigLIP2", "webli", 375, 224, "Apache-2.0", 78.2,
            "Tschannen et al. 2025", "understands many languages",
            "timm/ViT-B-16-SigLIP2",
        ),
        Preset(
            "mobileclip-s2", "open_clip", "MobileCLIP-S2", "datacompdr", 99, 256, "Apple ASCL",
            74.4, "Vasu et al. 2024", "the fastest for its accuracy",
            "apple/MobileCLIP-S2-OpenCLIP",
        ),
        Preset(
            "altclip", "transformers", "BAAI/AltCLIP", None, 864, 224, "CreativeML OpenRAIL-M",
            74.5, "Chen et al. 2022", "prompts in nine languages", "BAAI/AltCLIP",
        ),
    )
}  # fmt: skip

# What open_clip and transformers call the file of weights in a repository.
_WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors",
                 "model.safetensors.index.json", "pytorch_model.bin")  # fmt: skip


def is_here(preset: Preset) -> bool:
    """Say whether the weights lie on this machine, so that loading them downloads nothing."""
    return preset.weights is None or holds_weights(preset.weights)


def holds_weights(repository: str) -> bool:
    """Say whether the local cache of the Hugging Face hub has the weights of a repository."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(repository, name), str) for name in _WEIGHT_FILES)
