"""The teachers by name. A backend's library is imported only when the teacher is loaded."""

from __future__ import annotations

import importlib
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.teachers.base import Teacher

# kind in the config → module that holds `load(model, pretrained, device) -> Teacher`.
BACKENDS = {
    "open_clip": "pipeline.teachers.open_clip",
}

# Short names for weights that come with clip2yolo.
BUNDLED = {"pocket": Path(__file__).parent.parent / "assets" / "pocket"}


def load_teacher(kind: str, model: str, pretrained: str | None, device: str) -> Teacher:
    """Load a teacher.

    Raises:
        ConfigError: there is no backend of that name.
        TeacherError: its weights cannot be found, fetched or used.
    """
    if kind not in BACKENDS:
        raise ConfigError(
            f"`teacher.kind` is {kind!r}. It must be one of: {', '.join(sorted(BACKENDS))}."
        )
    return importlib.import_module(BACKENDS[kind]).load(  # type: ignore[no-any-return]
        locate(model), pretrained, device
    )


def locate(model: str) -> str:
    """Spell out a bundled teacher's name as the folder that it lies in; others stay as they are."""
    return f"local-dir:{BUNDLED[model]}" if model in BUNDLED else model
