"""Read a config file: strict, and with sentences for what is wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.complaints import Place, sentences
from pipeline.config.paths import absolute, place_of, with_model_paths
from pipeline.config.run import Config
from pipeline.config.shorthand import (
    examples_of,
    exports_of,
    sources_of,
    space_of,
    teachers_of,
)
from pipeline.errors import ConfigError, describe_os_error
from pipeline.files import expanded, naming
from pipeline.storage.address import scheme_of
from pipeline.yaml_text import read_yaml


def load_config(path: Path) -> Config:
    """Read and check a config file.

    Paths in it are taken relative to the file, `~` is the home folder. A missing `workspace` is
    `runs/<file name>` beside the file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or has a wrong key or value; the message
            names the file, the dotted key and the remedy.
    """
    path = expanded(path).absolute()
    try:
        with naming(path):
            text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text. Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"The config cannot be read. {describe_os_error(error)}") from error
    try:
        document = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}.") from None
    if not isinstance(document.data, dict):
        raise ConfigError(
            f"{path} must hold `key: value` lines (source, ontology, …). "
            "`clip2yolo init` writes one to start from."
        )
    known = {field.alias or name for name, field in Config.model_fields.items()}
    data = {
        key: value
        for key, value in document.data.items()
        if key in known or key not in document.only_merged
    }
    return parse_config(data, path, document.spelling)


def parse_config(
    given: dict[str, Any], file: Path, spelling: Callable[[Place], str | None] = lambda _: None
) -> Config:
    """Check `given` as the content of the config `file` (see `load_config`).

    Args:
        spelling: how the scalar at a place is written in the file, where that is known.
    """
    data = dict(given)
    if "file" in data:
        raise ConfigError(f"{file}: `file` is not a key that is known. Remove it.")
    data["file"] = file
    data.setdefault("workspace", f"runs/{file.stem}")
    base = file.parent
    for key in ("workspace", "truth", "pool_truth"):
        if isinstance(data.get(key), str) and data[key].strip():
            if (scheme := scheme_of(data[key])) is not None:
                raise ConfigError(
                    f"{file}: `{key}` begins with {scheme}://, and must be a path on this machine. "
                    "A table of truth may name images by their addresses."
                )
            data[key] = absolute(base, data[key])
    if "source" in data:
        data["source"] = sources_of(data["source"], base, file)
    if data.get("examples"):
        data["examples"] = examples_of(data["examples"], base, file)
        data.setdefault("ontology", {})
    data["teacher"] = teachers_of(data.get("teacher", {}), base)
    if isinstance(data.get("label"), dict) and "space" in data["label"]:
        data["label"] = {**data["label"], "space": space_of(data["label"]["space"], base)}
    for section, key in (("label", "vectors"), ("label", "sample"), ("dataset", "to")):
        part = data.get(section)
        if isinstance(part, dict) and isinstance(part.get(key), str):
            place = place_of(base, part[key], f"{file}: `{section}.{key}`")
            data[section] = {**part, key: place}
    data["student"] = with_model_paths(data.get("student", {}), "student", base)
    data["export"] = exports_of(data.get("export", []))
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        problems = sentences(error, given, spelling)
        raise ConfigError(*(f"{file}: {text}" for text in problems)) from None
