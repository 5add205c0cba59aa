"""Teachers with a name of their own: short names for models that are worth choosing between."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

from pipeline.errors import TeacherError

ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class Preset:
    """A published model, and what its publishers say of it.

    `imagenet` is the zero-shot top-1 on ImageNet-1k, in percent, that `source` reports; None where
    no figure was found, and then `source` says what was looked at.
    """

    name: str
    kind: str
    model: str
    pretrained: str | None
    parameters: float  # millions, both towers
    input_size: int  # pixels, the side of the square
    licence: str  # of the weights
    imagenet: float | None
    source: str
    about: str
    weights: str | None = None  # the repository of the Hugging Face hub that holds them
    needs: str | None = None  # a later version of a library than the one that clip2yolo asks for


# Where the figures were read, in November 2026.
_OPEN_CLIP = "mlfoundations/open_clip, docs/openclip_results.csv"
_METACLIP = "facebookresearch/MetaCLIP, README, table Meta CLIP 1; arXiv:2309.16671"
_METACLIP2 = "no ImageNet figure in facebookresearch/MetaCLIP, README, which has CVQA's"
_SIGLIP2 = "google-research/big_vision, README_siglip2.md, INet 0-shot; arXiv:2502.14786"
_PE = "facebookresearch/perception_models, README, IN-1k; arXiv:2504.13181"
_MOBILECLIP = "apple/ml-mobileclip, README, IN-1k zero-shot"
_TINYCLIP = "wkcn/TinyCLIP, README, model zoo, IN-1K Acc@1"
_APPLE = "Apple AMLR (research)"

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "pocket", "open_clip", f"local-dir:{ASSETS / 'pocket'}", None, 4.8, 64, "Apache-2.0",
            None, "pipeline/assets/pocket", "comes with clip2yolo; knows 141 words, no photographs",
        ),
        Preset(
            "clip-vit-b-32", "open_clip", "ViT-B-32", "openai", 151, 224, "MIT", 63.3,
            _OPEN_CLIP, "OpenAI's CLIP, the small one", "timm/vit_base_patch32_clip_224.openai",
        ),
        Preset(
            "clip-vit-l-14", "open_clip", "ViT-L-14", "openai", 428, 224, "MIT", 75.5,
            _OPEN_CLIP, "OpenAI's CLIP, the large one", "timm/vit_large_patch14_clip_224.openai",
        ),
        Preset(
            "pe-core-s-16", "open_clip", "PE-Core-S-16-384", "meta", 87, 384, "Apache-2.0", 72.7,
            _PE, "Perception Encoder, small; sees 384 pixels", "timm/PE-Core-S-16-384",
        ),
        Preset(
            "pe-core-b-16", "open_clip", "PE-Core-B-16", "meta", 448, 224, "Apache-2.0", 78.4,
            _PE, "Perception Encoder, middle", "timm/PE-Core-B-16",
        ),
        Preset(
            "pe-core-l-14", "open_clip", "PE-Core-L-14-336", "meta", 671, 336, "Apache-2.0", 83.5,
            _PE, "Perception Encoder, large; the most accurate here", "timm/PE-Core-L-14-336",
        ),
        Preset(
            "siglip2-b-32", "open_clip", "ViT-B-32-SigLIP2-256", "webli", 377, 256, "Apache-2.0",
            74.0, _SIGLIP2, "many languages; the fastest of its family",
            "timm/ViT-B-32-SigLIP2-256",
        ),
        Preset(
            "siglip2-b-16", "open_clip", "ViT-B-16-SigLIP2", "webli", 375, 224, "Apache-2.0", 78.2,
            _SIGLIP2, "many languages", "timm/ViT-B-16-SigLIP2",
        ),
        Preset(
            "siglip2-l-16", "open_clip", "ViT-L-16-SigLIP2-256", "webli", 882, 256, "Apache-2.0",
            82.5, _SIGLIP2, "many languages, large", "timm/ViT-L-16-SigLIP2-256",
        ),
        Preset(
            "mobileclip-s2", "open_clip", "MobileCLIP-S2", "datacompdr", 99, 256, _APPLE, 74.4,
            _MOBILECLIP, "small and fast", "apple/MobileCLIP-S2-OpenCLIP",
        ),
        Preset(
            "mobileclip2-s0", "open_clip", "MobileCLIP2-S0", "dfndr2b", 75, 256, _APPLE, 71.5,
            _MOBILECLIP, "the fastest for its accuracy", "timm/MobileCLIP2-S0-OpenCLIP",
            "open-clip-torch>=3.2",
        ),
        Preset(
            "mobileclip2-s2", "open_clip", "MobileCLIP2-S2", "dfndr2b", 99, 256, _APPLE, 77.2,
            _MOBILECLIP, "small and fast", "timm/MobileCLIP2-S2-OpenCLIP", "open-clip-torch>=3.2",
        ),
        Preset(
            "mobileclip2-b", "open_clip", "MobileCLIP2-B", "dfndr2b", 150, 224, _APPLE, 79.4,
            _MOBILECLIP, "a ViT-B/16", "timm/MobileCLIP2-B-OpenCLIP", "open-clip-torch>=3.2",
        ),
        Preset(
            "mobileclip2-s4", "open_clip", "MobileCLIP2-S4", "dfndr2b", 445, 256, _APPLE, 81.9,
            _MOBILECLIP, "the large one", "timm/MobileCLIP2-S4-OpenCLIP", "open-clip-torch>=3.2",
        ),
        Preset(
            "dfn-b-16", "open_clip", "ViT-B-16", "dfn2b", 150, 224, _APPLE, 76.2, _OPEN_CLIP,
            "Data Filtering Networks, small", "apple/DFN2B-CLIP-ViT-B-16",
        ),
        Preset(
            "dfn-l-14", "open_clip", "ViT-L-14", "dfn2b_s39b", 428, 224, _APPLE, 82.2,
            "model card of apple/DFN2B-CLIP-ViT-L-14-39B, ImageNet 1k",
            "Data Filtering Networks, large", "apple/DFN2B-CLIP-ViT-L-14-39B",
        ),
        Preset(
            "metaclip-vit-b-32", "open_clip", "ViT-B-32", "metaclip_fullcc", 151, 224,
            "CC-BY-NC-4.0", 67.6, _METACLIP, "how its data was chosen is open",
            "timm/vit_base_patch32_clip_224.metaclip_2pt5b",
        ),
        Preset(
            "metaclip-vit-l-14", "open_clip", "ViT-L-14", "metaclip_fullcc", 428, 224,
            "CC-BY-NC-4.0", 79.2, _METACLIP, "how its data was chosen is open",
            "timm/vit_large_patch14_clip_224.metaclip_2pt5b",
        ),
        Preset(
            "metaclip2-b-32", "transformers", "facebook/metaclip-2-worldwide-b32", None, 588, 224,
            "CC-BY-NC-4.0", None, _METACLIP2, "prompts in 300 languages; small and fast",
            "facebook/metaclip-2-worldwide-b32", "transformers>=4.56",
        ),
        Preset(
            "metaclip2-l-14", "transformers", "facebook/metaclip-2-worldwide-l14", None, 1082, 224,
            "CC-BY-NC-4.0", None, _METACLIP2, "prompts in 300 languages",
            "facebook/metaclip-2-worldwide-l14", "transformers>=4.56",
        ),
        Preset(
            "metaclip2-h-14", "open_clip", "ViT-H-14-worldwide", "metaclip2_worldwide", 1859, 224,
            "CC-BY-NC-4.0", 81.3, "arXiv:2507.22062, 0.8 above MetaCLIP's ViT-H/14, which has 80.5",
            "prompts in 300 languages; takes 7.5 GB",
            "timm/vit_huge_patch14_clip_224.metaclip2_worldwide", "open-clip-torch>=3.1",
        ),
        Preset(
            "tinyclip-40m-32", "transformers", "wkcn/TinyCLIP-ViT-40M-32-Text-19M-LAION400M", None,
            84, 224, "MIT", 59.8, _TINYCLIP, "OpenAI's ViT-B/32 made small",
            "wkcn/TinyCLIP-ViT-40M-32-Text-19M-LAION400M",
        ),
        Preset(
            "tinyclip-39m-16", "transformers", "wkcn/TinyCLIP-ViT-39M-16-Text-19M-YFCC15M", None,
            83, 224, "MIT", 63.5, _TINYCLIP, "OpenAI's ViT-B/16 made small",
            "wkcn/TinyCLIP-ViT-39M-16-Text-19M-YFCC15M",
        ),
        Preset(
            "altclip", "transformers", "BAAI/AltCLIP", None, 864, 224, "CreativeML OpenRAIL-M",
            74.5, "arXiv:2211.06679, as sotaverified.org lists it",
            "prompts in English and Chinese", "BAAI/AltCLIP",
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
    return _cached(repository) is not None


def weight_bytes(repository: str) -> int | None:
    """Return the size of a repository's weights in the local cache of the Hugging Face hub; None
    where they are not there, or lie in several files."""
    place = _cached(repository)
    return None if place is None or place.suffix == ".json" else place.stat().st_size


def _cached(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    places = (try_to_load_from_cache(repository, name) for name in _WEIGHT_FILES)
    return next((Path(place) for place in places if isinstance(place, str)), None)


def check_needs(preset: Preset) -> None:
    """Refuse a preset whose library is not there, or too old to know the model.

    Raises:
        TeacherError: it says what to install.
    """
    if preset.needs is None:
        return
    wanted = Requirement(preset.needs)
    try:
        there = version(wanted.name)
    except PackageNotFoundError:
        there = None
    if there is None or not wanted.specifier.contains(there, prereleases=True):
        found = "it is not installed" if there is None else f"version {there} is installed"
        raise TeacherError(
            f"The teacher {preset.name} needs {preset.needs}, and {found}. "
            f"Run `pip install '{preset.needs}'`."
        )
