"""ONNX, for onnxruntime and whatever else reads it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from pipeline.export.formats.base import Format, Job

_OPSET = 17  # what onnxruntime and OpenVINO have read since 2022
FILE = "model.onnx"


class Onnx(Format):
    """One file, any number of images at once."""

    name, title = "onnx", "ONNX"
    precisions = ("fp32",)
    packages, extra, runtime = ("onnx", "onnxruntime"), "export", "onnxruntime"
    batch = None

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        """Write model.onnx."""
        trace(job, folder / FILE)
        return (FILE,)


def trace(job: Job, file: Path) -> None:
    """Write a student's graph in fp32 as ONNX, with a batch of any size."""
    import torch

    from pipeline.export.graph import INPUT, OUTPUTS, example

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it names its successor, which needs more packages
        torch.onnx.export(
            job.graph(),
            (example(job.imgsz),),
            str(file),
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "n"} for name in (INPUT, *OUTPUTS)},
            dynamo=False,
        )
