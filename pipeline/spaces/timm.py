"""Spaces of the timm library: its own list, the Hugging Face hub, local folders."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_transform, resolve_model_data_config

from pipeline.config import SpaceConfig
from pipeline.errors import TeacherError
from pipeline.files import fingerprint
from pipeline.machine import pick_device
from pipeline.pixels import READING
from pipeline.spaces.tower import Tower, space_of
from pipeline.teachers.geometry import Geometry
from pipeline.teachers.precision import pick_precision
from pipeline.teachers.towers import calm, nearest, weights_digest

# The only file of weights that is read. A pickle could run code, and timm takes one where there is
# nothing else.
_FILE = "model.safetensors"


def repository_of(settings: SpaceConfig) -> str | None:
    """The repository of the Hugging Face hub with the model's weights; None for a folder."""
    if settings.model.startswith("local-dir:"):
        return None
    if settings.model.startswith("hf-hub:"):
        return settings.model.removeprefix("hf-hub:")
    return str(_listed(settings.model).hf_hub_id)


def check_names(settings: SpaceConfig) -> None:
    """Refuse names that timm does not list, and folders that hold no model of it.

    Raises:
        TeacherError: the model or its weights are not known.
    """
    if settings.model.startswith("local-dir:"):
        _check_folder(_folder_of(settings))
    elif not settings.model.startswith("hf-hub:"):
        _listed(settings.model)


def load(settings: SpaceConfig) -> Tower:
    """Load a model of timm with its weights, without its classifying head.

    Raises:
        TeacherError: unknown names, missing or damaged weights, no way to download them, or a model
            that gives no vector for an image.
    """
    check_names(settings)
    device = pick_device(settings.device)
    overlay: dict[str, Any] = {"hf_hub_filename": _FILE}
    if settings.size is not None:
        overlay["input_size"] = (3, settings.size, settings.size)
    try:
        with calm():
            # With its head, since timm tells what a file lacks only where nothing is left out.
            net = timm.create_model(settings.model, pretrained=True, pretrained_cfg_overlay=overlay)
            net.reset_classifier(0)
            config = resolve_model_data_config(net)
            transform = create_transform(**config, is_training=False)
            net = net.eval().requires_grad_(False).to(device)
    except torch.OutOfMemoryError as error:
        raise TeacherError(
            f"{settings.model} does not fit into the memory of {device}. Choose a smaller model, "
            "or `device: cpu`."
        ) from error
    except Exception as error:  # whatever a file, the hub or a model's own code may raise
        raise TeacherError(_explain(settings, error)) from error
    precision = pick_precision(settings.precision, device, net)
    built = {"architecture": net.pretrained_cfg["architecture"], **_arguments_of(settings)}
    return space_of(
        f"timm {_name_of(settings)}",
        net,
        net,
        fingerprint("timm", weights_digest(config | built, net), READING, precision),
        _geometry_of(config),
        transform,
        device,
        precision,
    )


def _geometry_of(config: Mapping[str, Any]) -> Geometry | None:
    """The geometry of timm's evaluation (`transforms_imagenet_eval`, 1.0): resize to more than the
    square, crop the middle. None where it wants something else that timm itself must do."""
    channels, height, width = config["input_size"]
    mode, interpolation = config["crop_mode"], config["interpolation"]
    known = mode in ("center", "squash") and interpolation in ("bicubic", "bilinear")
    if channels != 3 or height != width or not known:
        return None
    margin = math.floor(height / config["crop_pct"]) - height
    if margin < 0:
        return None
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return Geometry(height, interpolation, mode == "squash", mean, std, margin)


def _listed(model: str) -> Any:
    """What timm says of weights that it lists.

    Raises:
        TeacherError: it lists none of that name, or none in a format that is safe.
    """
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        raise TeacherError(
            f"timm {timm.__version__} has no model {model!r}."
            f"{nearest(architecture, timm.list_models())} A later version may have it; a folder is "
            "named `local-dir:path`, a model of the hub `hf-hub:org/name`."
        )
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    config = timm.get_pretrained_cfg(model) if not tag or tag in tags else None
    if config is None or not config.has_weights:
        raise TeacherError(
            f"timm {timm.__version__} lists no weights {model!r}. It lists for {architecture}: "
            f"{', '.join(tags) or 'none'}."
        )
    if not config.hf_hub_id:
        raise TeacherError(
            f"The weights {model!r} are not on the Hugging Face hub, so that there is no "
            f"{_FILE} of them; other formats can run code. Choose others."
        )
    return config


def _folder_of(settings: SpaceConfig) -> Path:
    return Path(settings.model.removeprefix("local-dir:"))


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise TeacherError(f"{folder} is not a folder. `local-dir:` names a folder with a model.")
    for name in ("config.json", _FILE):
        if not (folder / name).is_file():
            raise TeacherError(
                f"{folder} has no {name}. `kind: timm` wants a folder as timm's `save_for_hf` "
                f"writes it: config.json and {_FILE}."
            )


def _arguments_of(settings: SpaceConfig) -> dict[str, Any]:
    """What a folder builds its architecture with; the weights do not tell an activation."""
    if not settings.model.startswith("local-dir:"):
        return {}
    config = json.loads((_folder_of(settings) / "config.json").read_text("utf-8"))
    return {"model_args": config.get("model_args") or {}}


def _name_of(settings: SpaceConfig) -> str:
    name = settings.model.removeprefix("hf-hub:")
    name = _folder_of(settings).name if name.startswith("local-dir:") else name
    return name if settings.size is None else f"{name} at {settings.size}"


def _explain(settings: SpaceConfig, error: Exception) -> str:
    reason = " ".join(str(error).split())[:240] or type(error).__name__
    if settings.model.startswith("local-dir:"):
        return (
            f"The model in {_folder_of(settings)} cannot be loaded: {reason}. Check its two files."
        )
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return (
        f"{settings.model} cannot be loaded: {_FILE} of the repository {repository_of(settings)} "
        "of the Hugging Face hub could not be read or fetched "
        f"({type(error).__name__}). On a machine with internet, load it there once and copy {home} "
        f"here; or put config.json and {_FILE} into a folder and set "
        f"`{settings.key}: {{kind: timm, model: local-dir:that/folder}}`. Without that line the "
        "labels come from the words and the teacher's own sight."
    )
