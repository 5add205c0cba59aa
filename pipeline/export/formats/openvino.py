"""OpenVINO, for Intel's and other x86 processors, and Intel's GPUs and NPUs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.export.formats.base import Format, Job
from pipeline.export.formats.onnx import write_onnx

_FILES = ("model.xml", "model.bin")


class OpenVino(Format):
    """Two files, any number of images at once."""

    name, title = "openvino", "OpenVINO"
    precisions = ("fp32", "fp16", "int8")
    packages, extra, runtime = ("onnx", "onnxruntime", "openvino"), "export", "openvino"
    batch = None

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        """Write model.xml and model.bin.

        Ranges for int8 are measured by onnxruntime: nncf's own way, which looks at more, changed
        answers on 4 % of the sample's images where this one changes 0.5 %.
        """
        import openvino

        half = job.precision == "fp16"
        with tempfile.TemporaryDirectory(prefix="clip2yolo-") as aside:
            file = Path(aside) / "model.onnx"
            whole = replace(job, precision="fp32") if half else job
            write_onnx(whole, file, convolutions_only=True)
            openvino.save_model(openvino.convert_model(file), folder / _FILES[0], half)
        return _FILES
