"""ONNX, for onnxruntime and whatever else reads it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.export.formats.base import Format, Job

_OPSET = 17  # what onnxruntime and OpenVINO have read since 2022
FILE = "model.onnx"

# From the pooled features on all stays in fp32: the last layer has a few thousand weights, and on
# its answers everything hangs.
_LAST = ("GlobalAveragePool", "Flatten", "Gemm", "Softmax")


class Onnx(Format):
    """One file, any number of images at once."""

    name, title = "onnx", "ONNX"
    precisions = ("fp32", "fp16", "int8")
    packages, extra, runtime = ("onnx", "onnxruntime"), "export", "onnxruntime"
    batch = None

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        """Write model.onnx."""
        write_onnx(job, folder / FILE)
        return (FILE,)


def write_onnx(
    job: Job, file: Path, *, convolutions_only: bool = False, symmetric: bool = False
) -> None:
    """Write a student's graph as ONNX, at the precision of the job.

    Args:
        job: the student.
        file: to be written.
        convolutions_only: at int8, that what lies between them stays in fp32. onnxruntime is
            faster where that has 8 bits, too, OpenVINO where it has not.
        symmetric: at int8, that ranges reach as far below 0 as above, as TensorRT wants it.
    """
    if job.precision == "fp32":
        trace(job, file)
        return
    with tempfile.TemporaryDirectory(prefix="clip2yolo-") as folder:
        whole = Path(folder) / FILE
        trace(job, whole)
        if job.precision == "fp16":
            _halve(whole, file)
        else:
            _quantize(whole, file, job.calibration(), convolutions_only, symmetric)


def trace(job: Job, file: Path) -> None:
    """Write a student's graph in fp32 as ONNX, with a batch of any size."""
    import torch

    from pipeline.export.graph import INPUT, OUTPUTS, example

    torch.onnx.export(
        job.graph(),
        (example(job.imgsz),),
        str(file),
        opset_version=_OPSET,
        input_names=[INPUT],
        output_names=list(OUTPUTS),
        dynamic_axes={name: {0: "n"} for name in (INPUT, *OUTPUTS)},
        dynamo=False,  # its successor needs more packages, and torch 2.6 has it half done
    )


def _halve(whole: Path, file: Path) -> None:
    """Write a model's weights and most of its arithmetic in fp16; what goes in and comes out stays
    fp32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(
        onnx.load(whole), keep_io_types=True, op_block_list=list(_LAST)
    )
    onnx.save(model, file)


def _quantize(
    whole: Path, file: Path, images: np.ndarray, convolutions_only: bool, symmetric: bool
) -> None:
    """Write a model with its convolutions in 8 bits, with a scale for each channel of weights, and
    ranges of what is between them as they were on some images."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    from pipeline.export.graph import INPUT

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._left, None)
            return None if image is None else {INPUT: image[np.newaxis]}

    nodes = onnx.load(whole).graph.node
    quantize_static(
        whole,
        file,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"] if convolutions_only else None,
        nodes_to_exclude=[node.name for node in nodes if node.op_type in _LAST],
        extra_options={"ActivationSymmetric": symmetric},
    )
