"""The formats that a student is exported to: one module each, listed here."""

from __future__ import annotations

from pipeline.export.formats.base import Format, Job, missing
from pipeline.export.formats.coreml import CoreMl
from pipeline.export.formats.litert import LiteRt
from pipeline.export.formats.ncnn import Ncnn
from pipeline.export.formats.onnx import Onnx
from pipeline.export.formats.openvino import OpenVino
from pipeline.export.formats.tensorrt import TensorRt
from pipeline.export.formats.torchscript import TorchScript

__all__ = ["FORMATS", "Format", "Job", "missing"]

FORMATS: dict[str, Format] = {
    one.name: one
    for one in (Onnx(), OpenVino(), TorchScript(), TensorRt(), Ncnn(), LiteRt(), CoreMl())
}
