"""Spaces: what sees the images beside the teachers, without words. Any image tower will do; its
vectors are cached as a teacher's are, and a teacher's own tower shares that teacher's cache."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pipeline.config import SpaceConfig, StudentConfig, TeacherConfig
from pipeline.errors import ConfigError, StudentError, TeacherError
from pipeline.machine import check_device
from pipeline.spaces.presets import PRESETS
from pipeline.teachers import absent, check_teacher
from pipeline.teachers.base import Sight
from pipeline.teachers.presets import PRESETS as TEACHERS

# kind in the config → module that holds `load(settings) -> Sight`, `check_names(settings)` and,
# where models come from the Hugging Face hub, `repository_of(settings) -> str | None`.
BACKENDS = {
    "timm": "pipeline.spaces.timm",
    "transformers": "pipeline.spaces.transformers",
    "open_clip": "pipeline.teachers.open_clip",
    "student": "pipeline.spaces.student",
}
_KIND, _SCHEMES = SpaceConfig.model_fields["kind"].default, ("hf-hub:", "local-dir:")
_OF_SOME_KINDS = {
    "pretrained": ("open_clip",),
    "preprocess": ("open_clip",),
    "quick_gelu": ("open_clip",),
    "size": ("timm", "student"),
    "trust_remote_code": ("transformers",),
}
_OF_TEACHERS = ("weight", "url", "connections", "timeout", "retries")


def check_space(space: SpaceConfig, student: StudentConfig) -> SpaceConfig:
    """Refuse what no space could be loaded with, before anything is loaded or fetched.

    Args:
        space: `label.space` of the config.
        student: whose weights `kind: student` means where it names none.

    Returns:
        The settings, spelled out: backend, model and weights in the place of a preset's name.

    Raises:
        ConfigError: there is no preset, backend or device of that name, or the settings do not
            belong together.
    """
    stated = space.model_dump(exclude_defaults=True)
    for key in _OF_TEACHERS:
        if key in stated:
            raise ConfigError(
                f"`label.space.{key}` does not apply: a space is computed here, and what it is "
                "worth is estimated. Remove it."
            )
    if space.kind not in BACKENDS:
        raise ConfigError(
            f"`label.space.kind` is {space.kind!r}. It must be one of: {', '.join(BACKENDS)}."
        )
    named = PRESETS.get(space.model) or TEACHERS.get(space.model)
    if named is not None and space.kind not in (_KIND, named.kind):
        raise ConfigError(
            f"`label.space.model: {named.name}` is of `kind: {named.kind}`, not {space.kind}. "
            "Remove `kind`, or name another model."
        )
    if space.model in PRESETS:
        space = _spelled_out(space)
    elif space.model in TEACHERS:
        space = _as_teacher(space)
    elif space.kind == "student":
        space = _of_student(space, student)
    elif space.kind == _KIND and space.pretrained is None:
        _check_scheme(space)
        _check_folder(space)
    if space.kind == "open_clip":
        _as_teacher(space)
    for key, kinds in _OF_SOME_KINDS.items():
        if key in stated and space.kind not in kinds:
            raise ConfigError(
                f"`label.space.{key}` applies to `kind: {' or '.join(kinds)}`, and this space is "
                f"of `kind: {space.kind}`. Remove it."
            )
    check_device(space.device, "label.space.device")
    return space


def check_space_names(space: SpaceConfig, student: StudentConfig) -> None:
    """Refuse a model or weights of a name that the backend does not know; loads and fetches none.

    Raises:
        ConfigError: as `check_space`; or there is no such model or file.
    """
    space = check_space(space, student)
    try:
        _backend(space).check_names(space)
        space_to_fetch(space)
    except (TeacherError, StudentError) as error:
        raise ConfigError(str(error)) from error


def space_to_fetch(space: SpaceConfig) -> str | None:
    """Return the repository of the Hugging Face hub that loading the space would wait for, or None
    where its weights are here or lie elsewhere.

    Args:
        space: as `check_space` returned it.

    Raises:
        ConfigError: the hub has no repository of such a name.
    """
    return absent(space, _backend(space).repository_of(space))


def load_space(space: TeacherConfig) -> Sight:
    """Load a space.

    Args:
        space: as `check_space` returned it.

    Raises:
        TeacherError: its weights cannot be found, fetched or used.
        StudentError: the same, of a student's.
    """
    return _backend(space).load(space)  # type: ignore[no-any-return]


def _backend(space: TeacherConfig) -> Any:
    return importlib.import_module(BACKENDS[space.kind])


def _spelled_out(space: SpaceConfig) -> SpaceConfig:
    preset = PRESETS[space.model]
    size = space.size or preset.input_size
    return space.model_copy(update={"kind": preset.kind, "model": preset.model, "size": size})


def _as_teacher(space: SpaceConfig) -> SpaceConfig:
    """The sight of a teacher, spelled out as the teacher's settings are."""
    checked = check_teacher(space)
    assert isinstance(checked, SpaceConfig)
    return checked


def _of_student(space: SpaceConfig, student: StudentConfig) -> SpaceConfig:
    model = space.model or student.model
    if model.endswith((".yaml", ".yml")):
        where = "label.space.model" if space.model else "student.model"
        raise ConfigError(
            f"`label.space` takes the features of a student's weights, and `{where}: {model}` has "
            "random ones, which see nothing. Set it to weights, like yolov8n-cls.pt, or name "
            "another space."
        )
    return space.model_copy(update={"model": model, "size": space.size or student.imgsz})


def _check_folder(space: SpaceConfig) -> None:
    """Where a folder holds a model of another library than open_clip, have it said."""
    scheme, _, folder = space.model.partition("local-dir:")
    if scheme or not (Path(folder) / "config.json").is_file():
        return
    if not (Path(folder) / "open_clip_config.json").is_file():
        raise ConfigError(
            f"{folder} holds no model of open_clip. If it is one of timm or transformers, say so: "
            "`label.space: {kind: timm, model: …}`, or `kind: transformers`."
        )


def _check_scheme(space: SpaceConfig) -> None:
    if not space.model.startswith(_SCHEMES):
        raise ConfigError(
            f"`label.space` is {space.model!r}, which is no space that is known. Choose one of: "
            f"{', '.join(PRESETS)}, student; a teacher's name; or a model with its `kind`, as in "
            "`{kind: timm, model: resnet50.a1_in1k}`."
        )
