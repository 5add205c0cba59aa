"""How a CLIP of open_clip takes its pictures: of published weights it is listed, of a folder it is
written there, and a bare file of weights does not say it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config import TeacherConfig
from pipeline.files import hashes_of
from pipeline.teachers.library import open_clip

PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
_OF_REPOSITORIES = {"open_clip_model.safetensors", "open_clip_pytorch_model.bin"}


@dataclass(frozen=True)
class Facts:
    """What weights need beside their architecture."""

    preprocess: dict[str, Any]  # any of `PREPROCESSING`, over what open_clip takes by itself
    quick_gelu: bool | None  # the activation they were trained with; None: the architecture's own
    assumed: dict[str, Any]  # what nobody has said, and what is taken for it


def facts_of(settings: TeacherConfig) -> Facts:
    """Return what is known of a teacher's weights; what the settings state counts first.

    A file counts as published weights by its content or its name. Of any other file that is taken
    in which all published weights of its architecture agree, or else open_clip's default.
    """
    stated = settings.preprocess.model_dump(exclude_none=True)
    gelu, model, pretrained = settings.quick_gelu, settings.model, settings.pretrained
    usual = {
        key: value
        for key, value in asdict(open_clip.transform.PreprocessCfg()).items()
        if key in PREPROCESSING
    }
    if model.startswith("local-dir:"):
        written = _written(Path(model.removeprefix("local-dir:")))
        # Many published folders write mean and std only, and mean open_clip's defaults by the rest.
        told = bool(written.get("mean") and written.get("std"))
        silent = {key: usual[key] for key in PREPROCESSING if not told and not written.get(key)}
        return Facts(stated, gelu, {k: v for k, v in silent.items() if k not in stated})
    if pretrained is None or model.startswith("hf-hub:"):
        return Facts(stated, gelu, {})
    listed = [
        open_clip.get_pretrained_cfg(model, tag)
        for tag in open_clip.list_pretrained_tags_by_model(model)
    ]
    if tag := open_clip.get_pretrained_cfg(model, pretrained):
        return Facts(stated, bool(tag.get("quick_gelu")) or None if gelu is None else gelu, {})
    twin = next((one for one in listed if _is_of(Path(pretrained), one)), None)
    alike = [twin] if twin else listed
    taken = {key: _common([one.get(key) for one in alike], usual[key]) for key in PREPROCESSING}
    own = bool((open_clip.get_model_config(model) or {}).get("quick_gelu"))
    activation = own or _common([bool(one.get("quick_gelu")) for one in alike], own)
    assumed = {} if twin else taken | {"quick_gelu": activation}
    for key in [*stated, *([] if gelu is None else ["quick_gelu"])]:
        assumed.pop(key, None)
    return Facts(taken | stated, activation if gelu is None else gelu, assumed)


def doubts_about(settings: TeacherConfig, assumed: Mapping[str, Any]) -> list[str]:
    """Return a sentence that names what was assumed, if anything was."""
    if not assumed:
        return []
    place = settings.model.removeprefix("local-dir:")
    where = settings.pretrained if place == settings.model else place
    values = ", ".join(f"{key} {_in_words(value)}" for key, value in assumed.items())
    apart = [key for key in assumed if key != "quick_gelu"]
    keys = [f"preprocess: {{{', '.join(f'{key}: …' for key in apart)}}}"] if apart else []
    keys += ["quick_gelu: …"] if "quick_gelu" in assumed else []
    return [
        f"{where} does not say how its weights take pictures, so this was assumed: {values}. "
        "Weights that were trained otherwise answer wrongly. State what they were trained with: "
        f"`{settings.key}: {{{', '.join(keys)}}}`."
    ]


def _in_words(value: Any) -> str:
    return str(list(value) if isinstance(value, tuple) else value)


def _common(values: list[Any], otherwise: Any) -> Any:
    """The one value that all have, if it is one."""
    return values[0] if values and all(value == values[0] for value in values) else otherwise


def _written(folder: Path) -> dict[str, Any]:
    """What a folder says itself; one that cannot be read is refused where it is loaded."""
    try:
        config = json.loads((folder / "open_clip_config.json").read_text("utf-8"))
        return dict(config.get("preprocess_cfg") or {})
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _is_of(file: Path, listed: Mapping[str, Any]) -> bool:
    """Whether a file is the one that a tag names, in open_clip's list or in its repository.

    Where the address tells the content's SHA-256 and the name does not (`ViT-B-32.pt`), the name
    alone says nothing.
    """
    address, repository = listed.get("url", ""), listed.get("hf_hub", "")
    name, digest = address.rpartition("/")[2], _digest_in(address)
    if name and file.name == name and (not digest or digest in name):
        return True
    home, _, inner = repository.rpartition("/")
    if home and (file.name == inner if inner else file.name in _OF_REPOSITORIES):
        cached = f"models--{home.replace('/', '--')}"
        if inner or cached in file.parts or file.parent.name == home.rpartition("/")[2]:
            return True
    return bool(digest) and file.is_file() and hashes_of([file])[0].startswith(digest)


def _digest_in(address: str) -> str:
    """The SHA-256, or its beginning, that open_clip reads out of an address (3.3.0)."""
    if "openaipublic" in address:
        return address.split("/")[-2]
    if "mlfoundations" in address:
        return Path(address).stem.rpartition("-")[2]
    return ""
