"""How a teacher is shown many images: one machine's threads, several devices, or a cluster."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.cluster import check_installed
from pipeline.config import LabelConfig, TeacherConfig
from pipeline.errors import ConfigError
from pipeline.teachers.engines import devices, threads
from pipeline.teachers.engines.base import Engine

_ASKED = ("inference",)  # kinds of teachers that somebody else computes


def engine_for(settings: TeacherConfig, images: int, label: LabelConfig | None = None) -> Engine:
    """Return the engine that has so many images seen soonest, or that `label` asks for."""
    if label is not None and label.engine == "ray":
        from pipeline.teachers.engines.ray import RayEngine  # loads nothing where nobody asks

        return RayEngine(label)
    several = devices.is_worthwhile(devices.devices_of(settings.device), images)
    return devices.run if several else threads.run


def check_engine(label: LabelConfig, teachers: Sequence[TeacherConfig]) -> None:
    """Refuse an engine that cannot be used, before anything is read.

    Raises:
        ConfigError: what it needs is not installed, or a teacher does not compute by itself.
    """
    if label.engine != "ray":
        return
    check_installed()
    for teacher in teachers:
        if teacher.kind in _ASKED:
            raise ConfigError(
                f"`label.engine: ray` has a cluster compute, and `kind: {teacher.kind}` asks a "
                "server. Set `engine: local`, or name another teacher."
            )
