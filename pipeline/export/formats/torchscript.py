"""TorchScript, for torch alone, also in C++."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.export.formats.base import Format, Job

_FILE = "model.torchscript"


class TorchScript(Format):
    """One file, any number of images at once. Whoever opens it runs what it says, so take such
    files only from people you trust."""

    name, title = "torchscript", "TorchScript"
    precisions = ("fp32",)
    packages, extra, runtime = ("torch",), "export", "torch"
    batch = None

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        """Write model.torchscript."""
        import torch

        from pipeline.export.graph import traced

        jit: Any = torch.jit
        jit.freeze(traced(job.graph(), job.imgsz)).save(str(folder / _FILE))
        return (_FILE,)
