"""Where a dataset is uploaded to, and a student deployed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.base import Seconds, Section


class RoboflowConfig(Section):
    """Where `upload`, `pull` and `deploy` go. The key is not a setting: see the README."""

    project: str | None = None  # its id, as in the address of its page
    workspace: str | None = None  # by default the key's own
    batch: str | None = None  # by default the run's name
    license: str = "Private"  # of a project that is created
    connections: Annotated[int, Field(ge=1, le=32)] = 8  # images under way at a time
    timeout: Seconds = 60.0  # seconds for one answer
    retries: Annotated[int, Field(ge=0, le=20)] = 8  # waiting longer each time
