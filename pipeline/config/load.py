"""Reading a config: strict YAML, paths relative to the file, mistakes told by their dotted keys."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.config.model import Config
from pipeline.errors import ConfigError, describe_os_error


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word; a prompt given twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} stands here twice; keep one of them",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_config(path: Path) -> Config:
    """Read and check a config file.

    Paths in it are taken relative to the file, `~` is the home folder. A missing `workspace` is
    `runs/<file name>` beside the file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or has a wrong key or value; the message
            names the file, the dotted key and the remedy.
    """
    path = path.expanduser().absolute()
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text. Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"The config cannot be read. {describe_os_error(error)}") from error
    try:
        data = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {_one_line(error)}") from None
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} must hold `key: value` lines (source, ontology, …). "
            "`clip2yolo init` writes one to start from."
        )
    return parse_config(data, path)


def parse_config(data: dict[str, Any], file: Path) -> Config:
    """Check `data` as the content of the config `file` (see `load_config`)."""
    data = dict(data)
    if "file" in data:
        raise ConfigError(f"{file}: `file` is not a key that is known. Remove it.")
    data["file"] = file
    data.setdefault("workspace", f"runs/{file.stem}")
    base = file.parent
    for key in ("workspace", "truth", "pool_truth"):
        if isinstance(data.get(key), str):
            data[key] = _absolute(base, data[key])
    if "source" in data:
        data["source"] = _sources(data["source"], base)
    data["teacher"] = _teachers(data.get("teacher", {}), base)
    data["student"] = _with_model_path(data.get("student", {}), "student", base)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, file)) from None


def _sources(given: Any, base: Path) -> Any:
    """One source or several, each a path or a mapping, as a list of mappings."""
    several = given if isinstance(given, list) else [given]
    named = [{"path": one} if isinstance(one, str) else one for one in several]
    return [
        one | {"path": _absolute(base, one["path"])}
        if isinstance(one, dict) and isinstance(one.get("path"), str)
        else one
        for one in named
    ]


def _teachers(given: Any, base: Path) -> Any:
    """One teacher or several, each a name or a mapping, as a list of mappings."""
    several = given if isinstance(given, list) else [given]
    named = [{"model": one} if isinstance(one, str) else one for one in several]
    return [_with_model_path(one, "teacher", base) for one in named]


def _absolute(base: Path, text: str) -> Path:
    # Not resolve(): a link that a person named stays the link that they named. `a/../b` becomes
    # `b`, unless `a` is a link and that would be another place.
    path = (base / Path(text).expanduser()).absolute()
    short = Path(os.path.normpath(path))
    return short if short.resolve() == path.resolve() else path


def _with_model_path(part: Any, section: str, base: Path) -> Any:
    """Make `local-dir:x` and `./x.pt` absolute; names such as `ViT-B-32` stay names."""
    if not isinstance(part, dict) or not isinstance(part.get("model"), str):
        return part
    model: str = part["model"]
    if model.startswith("local-dir:"):
        model = f"local-dir:{_absolute(base, model.removeprefix('local-dir:'))}"
    elif not model.startswith("hf-hub:") and (
        model.startswith((".", "~", "/")) or (section == "student" and "/" in model)
    ):
        model = str(_absolute(base, model))
    return {**part, "model": model}


def _explain(error: ValidationError, file: Path) -> str:
    """One sentence for each problem, with its dotted key."""
    lines = []
    for problem in error.errors(include_url=False):
        if problem["loc"][:1] in (("teacher",), ("source",)) and problem["loc"][1:2] == (0,):
            # A single teacher or source was wrapped into a list; people know only the keys.
            problem["loc"] = tuple(part for part in problem["loc"] if part != 0)
        # Unions add the alternative's name to the location; people know only the keys.
        where = ".".join(
            str(part)
            for part in problem["loc"]
            if part != "[key]" and not str(part).startswith(("list[", "is-instance", "path"))
        )
        where = where or "the file"
        kind, given = problem["type"], problem.get("input")
        if kind == "extra_forbidden":
            text = f"`{where}` is not a key that is known. Check its spelling or remove it."
        elif kind == "missing":
            text = f"`{where}` is missing. Add it."
        elif "string" in kind:
            text = f"`{where}` must be text, not {given!r}. Put it in quotes."
        else:
            message = problem["msg"].removeprefix("Value error, ")
            text = f"`{where}` is {given!r}: {message[:1].lower()}{message[1:]}."
        lines.append(f"{file}: {text}")
    return "\n".join(dict.fromkeys(lines))


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    at = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return " ".join(str(problem).split()) + at + "."
