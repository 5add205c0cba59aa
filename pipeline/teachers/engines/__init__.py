"""How a teacher is shown many images: one machine's threads, or several devices."""

from __future__ import annotations

from pipeline.config import TeacherConfig
from pipeline.teachers.engines import devices, threads
from pipeline.teachers.engines.base import Engine


def engine_for(settings: TeacherConfig, images: int) -> Engine:
    """Return the engine that has so many images seen soonest."""
    several = devices.is_worthwhile(devices.devices_of(settings.device), images)
    return devices.run if several else threads.run
