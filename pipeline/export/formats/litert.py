"""LiteRT (formerly TensorFlow Lite), for Android and microprocessors."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.export.formats.base import Format, Job

_FILE = "model.tflite"


class LiteRt(Format):
    """One file, one image at a time."""

    name, title = "litert", "LiteRT"
    precisions = ("fp32", "int8")
    packages, packages_int8 = ("litert_torch", "ai_edge_litert"), ("ai_edge_quantizer",)
    extra, runtime = "litert", "ai-edge-litert"
    batch = 1
    input_name, output_names = "args_0", ("output_0", "output_1")  # of its signature

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        """Write model.tflite."""
        import litert_torch

        from pipeline.export.graph import example

        whole = litert_torch.convert(job.graph(), (example(job.imgsz, batch=1),))
        if job.precision == "fp32":
            whole.export(str(folder / _FILE))
            return (_FILE,)
        with tempfile.TemporaryDirectory(prefix="clip2yolo-") as aside:
            whole.export(str(Path(aside) / _FILE))
            _quantize(Path(aside) / _FILE, folder / _FILE, job.calibration())
        return (_FILE,)


def _quantize(whole: Path, file: Path, images: np.ndarray) -> None:
    """Write a model in 8 bits but for its last layer, with ranges as they were on some images."""
    from ai_edge_quantizer import qtyping, quantizer, recipe

    found: Any = quantizer.Quantizer(str(whole))
    found.load_quantization_recipe(recipe.static_wi8_ai8())
    operations = qtyping.TFLOperationName
    for operation in (
        operations.INPUT,
        operations.OUTPUT,
        operations.FULLY_CONNECTED,
        operations.SOFTMAX,
    ):
        found.update_quantization_recipe(
            regex=".*",
            operation_name=operation,
            algorithm_key=recipe.AlgorithmName.NO_QUANTIZE,
        )
    samples = [{"args_0": image[np.newaxis]} for image in images]
    ranges = found.calibrate({"serving_default": samples})
    found.quantize(ranges).export_model(str(file), overwrite=True)
