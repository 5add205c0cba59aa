"""A whole run: all sections together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.config.base import Location, Section
from pipeline.config.dataset import DatasetConfig
from pipeline.config.evaluate import EvaluateConfig, ReviewConfig
from pipeline.config.label import BackgroundConfig, LabelConfig
from pipeline.config.roboflow import RoboflowConfig
from pipeline.config.source import SourceConfig
from pipeline.config.student import ExportConfig, Exports, StudentConfig
from pipeline.config.teacher import TeacherConfig
from pipeline.errors import ConfigError
from pipeline.pixels import MAX_PIXELS


class Config(Section):
    """A whole run. `file` is where it was read from; every path in it is absolute."""

    file: Path = Field(exclude=True)
    workspace: Path
    sources: list[SourceConfig] = Field(alias="source", min_length=1)
    # Of what is decoded: a large JPEG at a part of its size, see `pipeline.pixels.jpeg.reduction`.
    max_pixels: Annotated[int, Field(ge=1)] = MAX_PIXELS
    truth: Path | None = None
    pool_truth: Path | None = None
    ontology: dict[str, str]  # prompt → class; may be left out where there are examples
    examples: dict[str, Annotated[list[Location], Field(min_length=1)]] = Field(
        {}
    )  # class → pictures
    describe: dict[str, list[str]] = Field(default={})
    templates: Literal["none", "photo", "openai7"] | list[str] = "none"
    background: BackgroundConfig | None = None
    teachers: list[TeacherConfig] = Field([TeacherConfig()], alias="teacher", min_length=1)
    label: LabelConfig = LabelConfig()
    dataset: DatasetConfig = DatasetConfig()
    student: StudentConfig = StudentConfig()
    exports: Exports = Field([], alias="export")
    evaluate: EvaluateConfig = EvaluateConfig()
    review: ReviewConfig = ReviewConfig()
    roboflow: RoboflowConfig = RoboflowConfig()

    def with_precision(self, precision: str | None) -> Config:
        """Return the config with all teachers, and the space, at one precision; None leaves it as
        it is."""
        if precision is None:
            return self
        said = {"precision": precision}
        teachers = [teacher.model_copy(update=said) for teacher in self.teachers]
        space = self.label.space and self.label.space.model_copy(update=said)
        label = self.label.model_copy(update={"space": space})
        return self.model_copy(update={"teachers": teachers, "label": label})

    def with_exports(self, exports: list[ExportConfig]) -> Config:
        """Return the config with these exports in the place of its own."""
        return self.model_copy(update={"exports": exports})

    def with_engine(self, engine: str | None, address: str | None) -> Config:
        """Return the config with another `label.engine`, and the address of its cluster; None
        leaves either as it is. An address alone asks for Ray.

        Raises:
            ConfigError: an address is given for this machine's own engine.
        """
        if engine is None and address is None:
            return self
        if engine == "local" and address is not None:
            raise ConfigError(
                "`--address` names a Ray cluster; leave it out with `--engine local`."
            )
        said: dict[str, Any] = {"engine": engine or "ray"}
        if address is not None:
            said["address"] = address
        return self.model_copy(update={"label": self.label.model_copy(update=said)})

    def with_refine(self, refine: str | None) -> Config:
        """Return the config with another `label.refine`; None leaves it as it is."""
        if refine is None:
            return self
        return self.model_copy(update={"label": self.label.model_copy(update={"refine": refine})})
