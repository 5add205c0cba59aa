"""A model of open_clip with its weights, in the time that it takes to read them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch.overrides import TorchFunctionMode

from pipeline.teachers.known_weights import PREPROCESSING, Facts
from pipeline.teachers.library import open_clip, with_library


def load_model(model: str, weights: Path, tag: str | None, facts: Facts, device: str) -> Any:
    """Return a model in fp32, with its `visual.preprocess_cfg`.

    On a CPU the weights stay in the file, mapped: what is not asked for is never read.

    Args:
        model: as open_clip names it, `hf-hub:org/name`, or `local-dir:folder`.
        weights: its file.
        tag: of these weights in open_clip's list, where they stand there.
        facts: what else is known of the weights.

    Raises:
        Exception: whatever open_clip raises for weights that are not this model's, each of whose
            tensors must be in the file.
    """
    for library in _libraries_of(model):
        with_library(library)
    options = {} if facts.quick_gelu is None else {"quick_gelu": facts.quick_gelu}
    listed = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    with _NoRandomWeights():
        net = open_clip.create_model(
            model,
            load_weights=False,
            pretrained_text=False,
            precision="fp32",
            force_preprocess_cfg={key: listed[key] for key in PREPROCESSING if key in listed},
            **options,
        )
    # open_clip copies tensor by tensor into ones of its own; these take the places instead.
    net.load_state_dict = functools.partial(net.load_state_dict, assign=True)
    open_clip.load_checkpoint(net, str(weights), strict=True, weights_only=True)
    del net.load_state_dict
    net = net.float().to(device)
    own = open_clip.transform.merge_preprocess_dict(net.visual.preprocess_cfg, facts.preprocess)
    open_clip.model.set_model_preprocess_cfg(net, own)
    return net


def take_from_file(tower: torch.nn.Module) -> None:
    """Copy a tower's weights in fp32 into memory of their own, in place: it is aligned, and nobody
    can overwrite it from outside while many images are seen. Those of a lower precision are none
    of the file's any more."""
    for tensor in [*tower.parameters(), *tower.buffers()]:
        if tensor.dtype == torch.float32 and tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def file_of(model: str, pretrained: str | None) -> Path:
    """Return the file of a model's weights, which is fetched where it is not here.

    Args:
        model: as open_clip names it, or `hf-hub:org/name`.
        pretrained: a tag of open_clip's list, or a file.

    Raises:
        Exception: whatever open_clip raises where it cannot be had.
    """
    if model.startswith("hf-hub:"):
        repository = model.removeprefix("hf-hub:")
        return Path(open_clip.pretrained.download_pretrained_from_hf(repository))
    listed = open_clip.get_pretrained_cfg(model, pretrained or "")
    return Path(open_clip.download_pretrained(listed) if listed else pretrained or "")


def _libraries_of(model: str) -> list[Literal["transformers", "timm"]]:
    """What a model may be built of besides open_clip's own; what a repository holds only open_clip
    will read."""
    if model.startswith("hf-hub:"):
        return ["transformers", "timm"]
    if model.startswith("local-dir:"):
        place = Path(model.removeprefix("local-dir:")) / "open_clip_config.json"
        config = json.loads(place.read_text("utf-8")).get("model_cfg") or {}
    else:
        config = open_clip.get_model_config(model) or {}
    found: list[Literal["transformers", "timm"]] = []
    if "hf_model_name" in config.get("text_cfg", {}):
        found.append("transformers")
    if "timm_model_name" in config.get("vision_cfg", {}):
        found.append("timm")
    return found


class _NoRandomWeights(TorchFunctionMode):
    """Leave out drawing random weights that are about to be loaded over.

    What is no weight is computed as ever, so that nothing else stays undefined; that the file holds
    every weight of the model is what strict loading checks.
    """

    _DRAWS = frozenset(
        getattr(torch.Tensor, name) for name in ("normal_", "uniform_", "fill_", "zero_")
    )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in self._DRAWS and isinstance(args[0], torch.nn.Parameter):
            return args[0]
        return func(*args, **(kwargs or {}))
