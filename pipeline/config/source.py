"""Where images come from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pipeline.config.base import Location, PositiveInt, Section
from pipeline.storage.address import check_address
from pipeline.values import Sampling, seconds_of


class SourceConfig(Section):
    """Where images come from. What is said of frames holds for videos only."""

    path: Location
    column: str | None = None  # of Parquet files, that holds image files
    every: str | PositiveInt | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    skip_similar: bool = False

    @model_validator(mode="after")
    def _one_rate(self) -> SourceConfig:
        if self.every is not None and self.fps is not None:
            raise ValueError("give either `every` or `fps`, not both")
        if isinstance(self.every, str):
            seconds_of(self.every)
        if isinstance(self.path, str):
            check_address(self.path)
            if self.names_frames:
                raise ValueError("`every`, `fps` and `skip_similar` ask for films; copy them here")
        return self

    @property
    def sampling(self) -> Sampling:
        """Which frames of a video are taken; one a second where nothing was said."""
        if isinstance(self.every, int):
            return Sampling(self.every, None, self.skip_similar)
        seconds = 1 / self.fps if self.fps else seconds_of(self.every or "1s")
        return Sampling(None, seconds, self.skip_similar)

    @property
    def names_frames(self) -> bool:
        """Whether something is said of frames, so that a video is meant."""
        return self.every is not None or self.fps is not None or self.skip_similar
