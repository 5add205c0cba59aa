"""OpenVINO, for Intel's and other x86 processors, and Intel's GPUs and NPUs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.export.formats.base import Format, Job
from pipeline.export.formats.onnx import trace

_FILES = ("model.xml", "model.bin")


class OpenVino(Format):
    """Two files, any number of images at once."""

    name, title = "openvino", "OpenVINO"
    precisions = ("fp32", "fp16", "int8")
    packages, packages_int8 = ("onnx", "openvino"), ("nncf",)
    extra, runtime = "export", "openvino"
    batch = None

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        """Write model.xml and model.bin."""
        import openvino

        with tempfile.TemporaryDirectory(prefix="clip2yolo-") as aside:
            file = Path(aside) / "model.onnx"
            trace(replace(job, precision="fp32"), file)
            model = openvino.convert_model(file)
            if job.precision == "int8":
                model = _quantized(model, job.calibration())
            openvino.save_model(model, folder / _FILES[0], job.precision == "fp16")
        return _FILES


def _quantized(model: object, images: np.ndarray) -> object:
    """The model in 8 bits up to its pooled features, with ranges as they were on some images."""
    import nncf

    from pipeline.export.graph import INPUT

    last = nncf.IgnoredScope(types=["ReduceMean", "MatMul", "SoftMax"], validate=False)
    batches = [{INPUT: image[np.newaxis]} for image in images]
    return nncf.quantize(
        model,
        nncf.Dataset(batches),
        subset_size=len(batches),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=last,
    )
