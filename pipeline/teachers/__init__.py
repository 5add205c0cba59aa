"""The teachers by name. A backend's library is imported only when the teacher is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from pipeline.config import TeacherConfig, with_model_paths
from pipeline.errors import ConfigError, TeacherError
from pipeline.machine import check_device, importing
from pipeline.teachers.base import Teacher
from pipeline.teachers.presets import PRESETS, check_needs, holds_weights, weight_bytes

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
    return _backend(settings.kind).load(settings, sentences)  # type: ignore[no-any-return]


def teacher_named(text: str, device: str = "auto") -> TeacherConfig:
    """Return the settings of a teacher that is named in one word: a preset, `local-dir:folder`,
    `hf-hub:org/name`, a model of open_clip with its weights after a slash, or `kind:model`; paths
    are relative to where one stands.

    Raises:
        ConfigError: it names a path that cannot be one.
    """
    kind, _, model = text.partition(":")
    name, _, pretrained = text.partition("/")
    if kind in BACKENDS and model:
        named = {"kind": kind, "model": model}
    elif pretrained and not text.startswith(("local-dir:", "hf-hub:", ".", "/", "~")):
        named = {"model": name, "pretrained": pretrained}
    else:
        named = {"model": text}
    return TeacherConfig(**with_model_paths(named, "teacher", Path.cwd()), device=device)


def check_names(settings: TeacherConfig) -> None:
    """Refuse a model or weights of a name that its backend does not know; loads and fetches none.

    Raises:
        ConfigError: there is no such model or file.
    """
    check = getattr(_backend(settings.kind), "check_names", None)
    if check is not None:
        try:
            check(settings)
        except TeacherError as error:
            raise ConfigError(str(error)) from error
    to_fetch(settings)  # what no repository can be called


def to_fetch(settings: TeacherConfig) -> str | None:
    """Return the repository of the Hugging Face hub that loading the teacher would wait for, or
    None where its weights are here or lie elsewhere.

    Raises:
        ConfigError: as `load_teacher`.
    """
    settings = check_teacher(settings)
    return absent(settings, _repository_of(settings))


def absent(settings: TeacherConfig, repository: str | None) -> str | None:
    """Return a repository of the Hugging Face hub whose weights are not on this machine.

    Raises:
        ConfigError: the hub has no repository of such a name.
    """
    from huggingface_hub.errors import HFValidationError

    try:
        return None if repository is None or holds_weights(repository) else repository
    except HFValidationError:
        raise ConfigError(
            f"`{settings.key}.model` is {settings.model!r}, and a repository of the Hugging Face "
            "hub cannot be called so. Name one as `org/name`, or a folder as `local-dir:folder`."
        ) from None


def bytes_of_weights(settings: TeacherConfig) -> int | None:
    """Return the size of a teacher's file of weights; None where they lie in several files, or
    elsewhere."""
    settings = resolve(settings)
    if settings.pretrained is not None and Path(settings.pretrained).is_file():
        return Path(settings.pretrained).stat().st_size
    repository = _repository_of(settings)
    return None if repository is None else weight_bytes(repository)


def _backend(kind: str) -> ModuleType:
    with importing():
        return importlib.import_module(BACKENDS[kind])


def _repository_of(settings: TeacherConfig) -> str | None:
    find = getattr(_backend(settings.kind), "repository_of", None)
    repository: str | None = None if find is None else find(settings)
    return repository


def check_teacher(settings: TeacherConfig) -> TeacherConfig:
    """Refuse what no teacher could be loaded with, before anything is loaded or fetched.

    Returns:
        The settings, spelled out (see `resolve`).

    Raises:
        ConfigError: there is no backend or device of that name, or the settings do not belong
            together.
        TeacherError: it is a preset that needs a later version of a library.
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
    if (preset := PRESETS.get(named.model)) is not None:
        check_needs(preset)
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
