"""Paths of a config are relative to the file that they stand in; addresses stay as they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.files import expanded
from pipeline.storage.address import check_address, scheme_of

_WEIGHTS = (".pt", ".pth", ".bin", ".safetensors", ".npz", ".npy")  # files that open_clip reads


def place_of(base: Path, text: str, where: str) -> Path | str:
    """An address as it is, a path made absolute.

    Raises:
        ConfigError: it is an address that cannot be read, or holds a credential. Its words are not
            repeated.
    """
    if scheme_of(text) is None:
        return absolute(base, text)
    try:
        check_address(text)
    except ValueError as error:
        raise ConfigError(f"{where} {error}.") from None
    return text


def absolute(base: Path, text: str) -> Path:
    # Not resolve(): a link that a person named stays the link that they named. `a/../b` becomes
    # `b`, unless `a` is a link and that would be another place.
    if "\0" in text:
        raise ConfigError(f"{text!r} cannot be a path: no file has such a name. Correct it.")
    path = (base / expanded(Path(text))).absolute()
    short = Path(os.path.normpath(path))
    return short if os.path.realpath(short) == os.path.realpath(path) else path


def with_model_paths(part: Any, section: str, base: Path) -> Any:
    """Make `local-dir:x`, `./x.pt` and a teacher's `pretrained: weights/x.pt` absolute; names such
    as `ViT-B-32` and tags such as `laion2b_s34b_b88k` stay names.

    Args:
        part: the settings of one teacher or of the student, checked or not.
        section: "teacher" or "student". A teacher's model may have a slash in its name.
        base: the folder that paths are relative to.
    """
    if not isinstance(part, dict):
        return part
    model, pretrained = part.get("model"), part.get("pretrained")
    paths = {}
    if isinstance(model, str) and model.startswith("local-dir:"):
        paths["model"] = f"local-dir:{absolute(base, model.removeprefix('local-dir:'))}"
    elif isinstance(model, str) and (
        model.startswith((".", "~", "/"))
        or (section == "student" and "/" in model and not model.startswith("hf-hub:"))
    ):
        paths["model"] = str(absolute(base, model))
    if isinstance(pretrained, str) and (
        "/" in pretrained or pretrained.startswith("~") or Path(pretrained).suffix in _WEIGHTS
    ):
        paths["pretrained"] = str(absolute(base, pretrained))
    return {**part, **paths}
