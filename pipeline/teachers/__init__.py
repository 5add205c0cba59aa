"""The teachers by name. A backend's library is imported only when the teacher is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from pipeline.config import TeacherConfig
from pipeline.errors import ConfigError, TeacherError
from pipeline.machine import check_device
from pipeline.teachers.base import Teacher
from pipeline.teachers.presets import PRESETS, holds_weights

# kind in the config → module that holds `load(settings, sentences) -> Teacher` and, where models
# come from the Hugging Face hub, `repository_of(settings) -> str | None`.
BACKENDS = {
    "open_clip": "pipeline.teachers.open_clip",
    "transformers": "pipeline.teachers.transformers",
    "autodistill": "pipeline.teachers.autodistill",
    "inference": "pipeline.teachers.inference",
}
_NOT_OURS = ("autodistill", "inference")  # whose arithmetic is out of our hands


def load_teacher(settings: TeacherConfig, sentences: Sequence[str] = ()) -> Teacher:
    """Load a teacher.

    Args:
        settings: one teacher of the config.
        sentences: what it will be asked. Only teachers that give no vectors need them at once.

    Raises:
        ConfigError: there is no backend of that name, or its settings do not belong together.
        TeacherError: its weights cannot be found, fetched or used.
    """
    settings = check_teacher(settings)
    backend = importlib.import_module(BACKENDS[settings.kind])
    return backend.load(settings, sentences)  # type: ignore[no-any-return]


def check_names(settings: TeacherConfig) -> None:
    """Refuse a model or weights of a name that its backend does not know; loads and fetches none.

    Raises:
        ConfigError: there is no such model or file.
    """
    check = getattr(importlib.import_module(BACKENDS[settings.kind]), "check_names", None)
    if check is not None:
        try:
            check(settings)
        except TeacherError as error:
            raise ConfigError(str(error)) from error


def to_fetch(settings: TeacherConfig) -> str | None:
    """Return the repository of the Hugging Face hub that loading the teacher would wait for, or
    None where its weights are here or lie elsewhere.

    Raises:
        ConfigError: as `load_teacher`.
    """
    settings = check_teacher(settings)
    repository_of = getattr(importlib.import_module(BACKENDS[settings.kind]), "repository_of", None)
    repository: str | None = None if repository_of is None else repository_of(settings)
    return None if repository is None or holds_weights(repository) else repository


def check_teacher(settings: TeacherConfig) -> TeacherConfig:
    """Refuse what no teacher could be loaded with, before anything is loaded or fetched.

    Returns:
        The settings, spelled out (see `resolve`).

    Raises:
        ConfigError: there is no backend or device of that name, or the settings do not belong
            together.
    """
    if settings.kind not in BACKENDS:
        raise ConfigError(
            f"`{settings.key}.kind` is {settings.kind!r}. It must be one of: "
            f"{', '.join(sorted(BACKENDS))}."
        )
    named, settings = settings, resolve(settings)
    if named.kind not in (settings.kind, TeacherConfig.model_fields["kind"].default):
        raise ConfigError(
            f"`{settings.key}.model: {named.model}` is of `kind: {settings.kind}`, not "
            f"{named.kind}. Remove `kind`, or name another model."
        )
    if settings.kind in _NOT_OURS and settings.precision not in ("auto", "fp32"):
        raise ConfigError(
            f"`{settings.key}.precision: {settings.precision}` does not apply to "
            f"`kind: {settings.kind}`, which computes as it pleases. Remove it."
        )
    if settings.kind != "open_clip":
        for key in settings.model_dump(include={"preprocess", "quick_gelu"}, exclude_defaults=True):
            raise ConfigError(
                f"`{settings.key}.{key}` does not apply to `kind: {settings.kind}`, whose models "
                "say themselves how they take pictures. Remove it."
            )
    check_device(settings.device, f"{settings.key}.device")
    return settings


def resolve(settings: TeacherConfig) -> TeacherConfig:
    """Spell out a named preset as backend, model and weights; others stay as they are.

    Raises:
        ConfigError: weights were asked for that the preset does not have.
    """
    preset = PRESETS.get(settings.model)
    if preset is None:
        return settings
    if settings.pretrained not in (None, preset.pretrained):
        raise ConfigError(
            f"`{settings.key}.model: {preset.name}` brings its own weights. Remove `pretrained`, "
            f"or name the architecture itself: {preset.model}."
        )
    return settings.model_copy(
        update={"kind": preset.kind, "model": preset.model, "pretrained": preset.pretrained}
    )
