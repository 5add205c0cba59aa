"""clip-retrieval's inference, in an environment of its own, since it wants an older numpy.

It writes image vectors and no labels, so the number of prompts does not touch it. Run as a script
by that environment's Python, this file imports nothing of clip2yolo.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

# clip-anytorch, which it imports, wants the pkg_resources of older setuptools.
_PACKAGES = ("clip-retrieval==2.45.0", "torch", "torchvision", "setuptools<81")


def python_with(folder: Path) -> Path | None:
    """Return a Python that has clip-retrieval, installing it on first use; None where it cannot
    be installed."""
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if ready.is_file():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    install = [str(python), "-m", "pip", "install", "--quiet", *_PACKAGES]
    if subprocess.run(install, capture_output=True, check=False).returncode:
        return None
    ready.touch()
    return python


def _infer(photos: list[Path], model: str) -> float:
    """Seconds of `clip-retrieval inference` on a folder of these photos."""
    from clip_retrieval.clip_inference.main import main

    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        images.mkdir()
        for path in photos:
            os.link(path, images / path.name)
        started = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            main(
                str(images), str(Path(folder) / "out"), enable_text=False,
                clip_model=f"hf_clip:{model}", use_jit=False, batch_size=64,
                num_prepro_workers=min(8, os.cpu_count() or 1),
            )  # fmt: skip
        return time.perf_counter() - started


if __name__ == "__main__":
    given, count, weights = sys.argv[1:]
    files = sorted(Path(given).glob("*.jpg"))[: int(count)]
    few = len(files) // 4
    _infer(files[:2], weights)  # imports the libraries and warms them up
    # Both load the model; the difference is what the other photos took.
    start, whole = _infer(files[:few], weights), _infer(files, weights)
    seconds = (whole - start) * len(files) / (len(files) - few)
    figures = {
        "images": len(files),
        "seconds": seconds,
        "start": max(0.0, whole - seconds),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }
    print(f"\n{json.dumps(figures)}")  # its logger has left a line open
