"""The formats that a student is exported to: one module each, listed here."""

from __future__ import annotations

from pipeline.export.formats.base import Format, Job, missing
from pipeline.export.formats.onnx import Onnx

__all__ = ["FORMATS", "Format", "Job", "missing"]

FORMATS: dict[str, Format] = {one.name: one for one in (Onnx(),)}
