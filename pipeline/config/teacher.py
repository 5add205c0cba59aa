"""Who labels, and what sees the images beside the teachers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Device, Fraction, PositiveInt, Seconds, Section, Share


class PreprocessConfig(Section):
    """How weights take their pictures, for those that do not say it. RGB on the scale 0 to 1."""

    mean: Annotated[list[Fraction], Field(min_length=3, max_length=3)] | None = None
    std: Annotated[list[Share], Field(min_length=3, max_length=3)] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None


class TeacherConfig(Section):
    """Who labels."""

    key: ClassVar[str] = "teacher"  # where these settings stand, for messages

    kind: str = "open_clip"
    model: str = "pocket"
    pretrained: str | None = None
    preprocess: PreprocessConfig = PreprocessConfig()  # kind open_clip, as the next
    quick_gelu: bool | None = None  # the activation: OpenAI's weights have it
    device: Device = "auto"  # cpu, mps, cuda, cuda:1; 0,1 for a process on each of several
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: Literal["auto", "always", "never"] = "auto"  # torch.compile
    batch: PositiveInt | None = None  # images at once; by default what suits the device
    weight: Annotated[float, Field(gt=0)] = 1.0  # among several teachers
    trust_remote_code: bool = False  # kind transformers: run Python that a model brings
    url: str = "https://infer.roboflow.com"  # kind inference: the server
    connections: Annotated[int, Field(ge=1, le=64)] = 8  # kind inference: requests at a time
    timeout: Seconds = 60.0  # kind inference: seconds for one answer
    retries: Annotated[int, Field(ge=0, le=20)] = 6  # kind inference: waiting longer each time


class SpaceConfig(TeacherConfig):
    """What sees the images beside the teachers, without words: any image tower. Of a teacher's
    settings those apply that say how it computes."""

    key: ClassVar[str] = "label.space"

    model: str = ""  # kind student: by default `student.model`
    size: Annotated[int, Field(ge=32, le=2048)] | None = None  # pixels; kind timm, student

    @model_validator(mode="after")
    def _names_a_model(self) -> SpaceConfig:
        if not self.model and self.kind != "student":
            raise ValueError("`model` is missing; `clip2yolo teachers --spaces` lists some")
        return self
