"""Photos and weights for the benchmarks, made from what the required packages bring along."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.machine import cores

_PREPARATION = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def photos(folder: Path, count: int = 1000) -> list[Path]:
    """Write so many JPEGs of 500 x 375 pixels: random crops of four real photos, all different."""
    import sklearn.datasets
    import ultralytics

    paths = [folder / f"photo_{number:04d}.jpg" for number in range(count)]
    if all(path.is_file() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    assets = Path(ultralytics.__file__).parent / "assets"
    sources = [Image.fromarray(one) for one in sklearn.datasets.load_sample_images().images]
    sources += [Image.open(path).convert("RGB") for path in sorted(assets.glob("*.jpg"))]
    rng = np.random.default_rng(0)
    crops = []
    for number, path in enumerate(paths):
        photo = sources[number % len(sources)]
        width = int(min(photo.width, photo.height * 4 / 3) * rng.uniform(0.5, 1))
        height = width * 3 // 4
        left = int(rng.integers(0, photo.width - width + 1))
        top = int(rng.integers(0, photo.height - height + 1))
        crops.append((path, photo, (left, top, left + width, top + height)))

    def write(path: Path, photo: Image.Image, box: tuple[int, int, int, int]) -> None:
        photo.crop(box).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=88)

    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(write, *zip(*crops, strict=True)):
            pass
    return paths


def random_vit(folder: Path) -> Path:
    """Write a random ViT-B/32 in open_clip's `local-dir:` format; returns the folder."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    weights = folder / "open_clip_model.safetensors"
    if not weights.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32", pretrained=None)
        config = {"model_cfg": open_clip.get_model_config("ViT-B-32")}
        config["preprocess_cfg"] = _PREPARATION
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
    return folder


def random_transformers(folder: Path) -> Path:
    """Write a random ViT-B/32 in the format of transformers, with CLIP's own vocabulary from
    open_clip; returns the folder."""
    if (folder / "model.safetensors").is_file():
        return folder
    import transformers as library
    from open_clip.tokenizer import SimpleTokenizer

    words = SimpleTokenizer()
    folder.mkdir(parents=True, exist_ok=True)
    signs = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    names = {signs.get(word, word): number for word, number in words.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(names))
    merges = "\n".join(" ".join(pair) for pair in words.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")
    library.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(
        folder
    )
    library.CLIPImageProcessor().save_pretrained(folder)
    library.CLIPModel(library.CLIPConfig()).save_pretrained(folder)
    return folder
