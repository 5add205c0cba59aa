"""TensorRT, for one kind of NVIDIA GPU: an engine is built on the kind that it will run on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import StudentError
from pipeline.export.formats.base import Format, Job
from pipeline.export.formats.onnx import write_onnx

_FILE = "model.engine"
BATCH = 32  # images at once, at most


class TensorRt(Format):
    """One file, for the kind of GPU and the version of TensorRT that built it."""

    name, title = "tensorrt", "TensorRT"
    precisions = ("fp32", "fp16", "int8")
    packages, extra, runtime = ("onnx", "onnxruntime", "tensorrt"), "tensorrt", "tensorrt"
    batch = BATCH

    def impossible(self) -> str | None:
        """An engine is made by the GPU that runs it."""
        import torch

        if torch.cuda.is_available():
            return None
        return (
            "A TensorRT engine is built by the NVIDIA GPU that it is for, and there is none here. "
            "Export to ONNX, and to TensorRT on the machine with the GPU."
        )

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        """Write model.engine."""
        import tensorrt

        log = tensorrt.Logger(tensorrt.Logger.ERROR)
        builder = tensorrt.Builder(log)
        # Types as the ONNX file has them; from version 11 on there is nothing else.
        typed = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        network = builder.create_network(0 if typed is None else 1 << int(typed))
        parser = tensorrt.OnnxParser(network, log)
        with tempfile.TemporaryDirectory(prefix="clip2yolo-") as aside:
            file = Path(aside) / "model.onnx"
            write_onnx(job, file, convolutions_only=True, symmetric=True)
            if not parser.parse_from_file(str(file)):
                raise StudentError(f"TensorRT cannot read the student ({parser.get_error(0)}).")
        settings = builder.create_builder_config()
        profile = builder.create_optimization_profile()
        shape = (3, job.imgsz, job.imgsz)
        profile.set_shape(network.get_input(0).name, (1, *shape), (1, *shape), (BATCH, *shape))
        settings.add_optimization_profile(profile)
        engine = builder.build_serialized_network(network, settings)
        if engine is None:
            raise StudentError(
                "TensorRT could not build an engine for this GPU. Export to ONNX, or in another "
                "precision; `--verbose` shows what it says."
            )
        (folder / _FILE).write_bytes(engine)
        return (_FILE,)
