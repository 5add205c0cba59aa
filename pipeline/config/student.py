"""What is trained, how, and which formats it is exported to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.config.base import Device, NotNegative, PositiveInt, Section


class StudentConfig(Section):
    """What is trained, and how. Names and meanings are ultralytics' own."""

    model: str = "yolov8n-cls.yaml"
    imgsz: Annotated[int, Field(ge=32, le=2048)] = 224
    fit: Literal["crop", "pad", "stretch"] = "stretch"  # how a picture becomes a square
    epochs: PositiveInt = 30
    batch: PositiveInt = 32
    seed: NotNegative = 0
    device: Device = "auto"  # 0,1 or [0, 1]: a process on each of several GPUs
    # Of whoever asks it in PyTorch; it is trained, and seen with, as ever.
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: NotNegative = 2
    start: Literal["scratch", "promoted"] = "scratch"  # "promoted": from the student in use
    keep: PositiveInt = 5  # evaluated students in `students/`
    distill: Literal["soft", "hard"] = "soft"  # learn probabilities of all images, or labels
    balance: Literal["none", "sample", "loss"] = "none"  # how rare classes are made up for
    # 2: what a first student has learned to see counts, too. auto: 2 with soft labels.
    rounds: Literal["auto", 1, 2] = "auto"
    train: dict[str, bool | int | float | str] = Field(default={})  # any other ultralytics setting


class ExportConfig(Section):
    """A format of another runtime, see `pipeline.export.formats`."""

    format: Literal["onnx", "openvino", "torchscript", "tensorrt", "ncnn", "litert", "coreml"]
    precision: Literal["fp32", "fp16", "int8"] = "fp32"


def _different(exports: list[ExportConfig]) -> list[ExportConfig]:
    if len(set(exports)) < len(exports):
        raise ValueError("one format stands here twice at one precision; name each once")
    return exports


Exports = Annotated[list[ExportConfig], AfterValidator(_different)]
