"""Core ML, for Apple's devices. It is converted anywhere but on Windows, and asked on macOS."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.export.formats.base import Format, Job

_FOLDER = "model.mlpackage"


class CoreMl(Format):
    """A folder, one image at a time."""

    name, title = "coreml", "Core ML"
    precisions = ("fp32", "fp16")
    packages, extra, runtime = ("coremltools",), "coreml", "coremltools"
    batch = 1

    def impossible(self) -> str | None:
        """Apple's converter has no Windows version."""
        if sys.platform != "win32":
            return None
        return "Core ML is not converted to on Windows. Export on Linux or macOS."

    def unprovable(self) -> str | None:
        """Only macOS has Core ML."""
        if sys.platform == "darwin":
            return None
        return "Core ML answers on macOS only, so it cannot be proved here. Export again on a Mac."

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        """Write model.mlpackage."""
        import coremltools

        from pipeline.export.graph import INPUT, OUTPUTS, traced

        half = job.precision == "fp16"
        shape = (1, 3, job.imgsz, job.imgsz)
        model = coremltools.convert(
            traced(job.graph(), job.imgsz, batch=1),
            inputs=[coremltools.TensorType(INPUT, shape)],
            outputs=[coremltools.TensorType(name) for name in OUTPUTS],
            compute_precision=getattr(coremltools.precision, "FLOAT16" if half else "FLOAT32"),
            minimum_deployment_target=coremltools.target.iOS16,
        )
        model.save(str(folder / _FOLDER))
        files = sorted(path for path in (folder / _FOLDER).rglob("*") if path.is_file())
        return [path.relative_to(folder).as_posix() for path in files]
