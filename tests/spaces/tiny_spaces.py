"""Random image towers, each written as its own library writes one, small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import timm
import torch
from PIL import Image

from pipeline.config import SpaceConfig
from tests.fakes import picture, sha256

PICTURES = [picture(name, 3, size) for name in ("red", "blue") for size in ((90, 72), (66, 140))]
VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "patch_size": 8,
          "num_attention_heads": 2, "image_size": 32}  # fmt: skip
# kind → classes of transformers: the config, the model and what prepares its pictures
VISION_MODELS = {
    "dinov2": ("Dinov2Config", "Dinov2Model", "BitImageProcessor", VISION),
    "vit": ("ViTConfig", "ViTModel", "ViTImageProcessor", VISION),
    "vit classifier": ("ViTConfig", "ViTForImageClassification", "ViTImageProcessor", VISION),
    "clip vision": ("CLIPVisionConfig", "CLIPVisionModel", "CLIPImageProcessor", VISION),
    "convnext": ("ConvNextConfig", "ConvNextModel", "ConvNextImageProcessor",
                 {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}),
    "mae": ("ViTMAEConfig", "ViTMAEModel", "ViTImageProcessor", VISION),
}  # fmt: skip


def settings_of(kind: str, folder: Path, **more: Any) -> SpaceConfig:
    model = str(folder) if kind == "student" else f"local-dir:{folder}"
    known = {"kind": kind, "model": model, "device": "cpu", "precision": "fp32"}
    return SpaceConfig(**(known | ({"size": 64} if kind == "student" else {}) | more))


def write_timm(folder: Path, architecture: str = "test_efficientnet", seed: int = 0) -> Any:
    """Write a model as timm's hub folders are; returns it."""
    torch.manual_seed(seed)
    model = timm.create_model(architecture, num_classes=5).eval()
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return model


def write_vision_model(folder: Path, kind: str, seed: int = 0) -> Any:
    """Write a vision model and what prepares its pictures as `save_pretrained` does."""
    import transformers

    config_class, model_class, images_class, options = VISION_MODELS[kind]
    torch.manual_seed(seed)
    config = getattr(transformers, config_class)(**options)
    model = getattr(transformers, model_class)(config).eval()
    model.save_pretrained(folder)
    size = {"shortest_edge": 32} if kind in ("dinov2", "clip vision") else None
    size = {"shortest_edge": 40} if kind == "convnext" else size or {"height": 32, "width": 32}
    crop = {"crop_size": {"height": 32, "width": 32}} if "shortest_edge" in size else {}
    options = {"size": size} | ({} if kind == "convnext" else crop)
    getattr(transformers, images_class)(**options).save_pretrained(folder)
    return model


def write_yolo(file: Path, seed: int = 0) -> Any:
    """Write a classifier of ultralytics as its trainer does; returns the model."""
    from pipeline.yolo.library import ClassificationModel

    torch.manual_seed(seed)
    model = ClassificationModel("yolov8n-cls.yaml", nc=3, verbose=False).eval()
    model.names = {0: "red", 1: "green", 2: "blue"}
    model.args = {"imgsz": 64, "batch": 8, "model": "yolov8n-cls.yaml", "task": "classify"}
    torch.save({"model": model, "ema": None, "train_args": model.args}, file)
    return model


def table_of(paths: list[Path]) -> pl.DataFrame:
    """Images as `see` takes them."""
    rows = [(sha256(path), str(path)) for path in paths]
    return pl.DataFrame(rows, {"id": pl.String, "path": pl.String}, orient="row")


def saved(folder: Path, pictures: list[Image.Image]) -> pl.DataFrame:
    """Write pictures as files; returns their table."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, image in zip(paths, pictures, strict=True):
        image.save(path)
    return table_of(paths)
