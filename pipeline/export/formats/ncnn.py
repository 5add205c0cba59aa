"""NCNN, for phones and small ARM boards."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import StudentError
from pipeline.export.formats.base import Format, Job

_FILES = ("model.param", "model.bin")
_LONGEST = 600  # seconds that pnnx may take


class Ncnn(Format):
    """Two files, one image at a time."""

    name, title = "ncnn", "NCNN"
    precisions = ("fp32", "fp16")
    packages, extra, runtime = ("pnnx", "ncnn"), "ncnn", "ncnn"
    batch = 1
    input_name, output_names = "in0", ("out0", "out1")  # pnnx's

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        """Write model.param and model.bin."""
        import pnnx

        from pipeline.export.graph import traced

        with tempfile.TemporaryDirectory(prefix="clip2yolo-") as place:
            aside = Path(place)
            traced(job.graph(), job.imgsz, batch=1).save(str(aside / "model.pt"))
            side, half = job.imgsz, int(job.precision == "fp16")
            command = [
                pnnx.EXEC_PATH, "model.pt", f"inputshape=[1,3,{side},{side}]",
                "ncnnparam=model.param", "ncnnbin=model.bin", f"fp16={half}",
            ]  # fmt: skip
            with contextlib.suppress(OSError):  # where it cannot be changed, it may be right
                Path(pnnx.EXEC_PATH).chmod(0o755)
            done = subprocess.run(
                command, cwd=aside, capture_output=True, timeout=_LONGEST, check=False
            )
            if done.returncode or not all((aside / name).is_file() for name in _FILES):
                raise StudentError(
                    "pnnx could not convert the student to NCNN. Export to ONNX, or install "
                    "another version of pnnx."
                )
            for name in _FILES:
                shutil.copyfile(aside / name, folder / name)
        return _FILES
