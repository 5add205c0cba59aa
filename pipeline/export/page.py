"""The page of an exported ONNX model: `index.html` answers pictures in the browser.

A page that is opened as a file may fetch nothing. So what it needs, the model and the runtime, too,
lies in scripts beside it, as text; from a server the same files are read. They are a copy of what
lies in the folder at the time.
"""

from __future__ import annotations

import base64
import gzip
import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.export.known import PROOF
from pipeline.files import naming

FOLDER = "page"  # beside index.html
_SOURCE = Path(__file__).parent / "page"
_RUNTIME = _SOURCE / "runtime"
# Of the model's file: as text in a script it is a third larger, and browsers hold no text of more
# than 512 MB.
_LARGEST = 256 << 20


def write_page(folder: Path) -> str | None:
    """Put `index.html` and the folder `page` into an exported folder; or return a sentence that
    says why there is no page.

    Args:
        folder: with `labels.json`, the ONNX file that it names, and `unlike.npz` where it says that
            the student can answer "none of these"; and `proof.json`, where there is one.

    Raises:
        OSError: a file is missing, or the disk is full.
    """
    labels = json.loads((folder / "labels.json").read_text("utf-8"))
    model = folder / labels["file"]
    if (size := model.stat().st_size) > _LARGEST:
        return (
            f"{labels['file']} has {size >> 20} MB, and a browser takes no more than "
            f"{_LARGEST >> 20}, so there is no page for it. All else is as it should be."
        )
    page = folder / FOLDER
    page.mkdir(exist_ok=True)
    for path in sorted(_SOURCE.iterdir()):
        if path.is_file():
            shutil.copyfile(path, (folder if path.suffix == ".html" else page) / path.name)
    told = {"labels": labels}
    if labels["none"] is not None:
        told["unlike"] = _arrays(folder / "unlike.npz")
    if (folder / PROOF).is_file():
        told["proof"] = json.loads((folder / PROOF).read_text("utf-8"))["sentence"]
    _script(page / "labels.js", told)
    _script(page / "model.js", {"model": _packed(model.read_bytes())})
    _write_runtime(page)
    return None


def _write_runtime(page: Path) -> None:
    code = (_RUNTIME / "ort.wasm.bundle.min.mjs").read_bytes()
    machine = lzma.decompress((_RUNTIME / "ort-wasm-simd-threaded.wasm.xz").read_bytes())
    runtime = {"code": _packed(code), "machine": _packed(machine)}
    _script(page / "runtime.js", {"runtime": runtime})
    notices = lzma.decompress((_RUNTIME / "ThirdPartyNotices.txt.xz").read_bytes())
    licence = (_RUNTIME / "LICENSE.txt").read_bytes()
    with naming(page / "runtime-licences.txt"):
        (page / "runtime-licences.txt").write_bytes(
            b"page/runtime.js contains ONNX Runtime Web.\n\n" + licence + b"\n\n" + notices
        )


def _arrays(file: Path) -> dict[str, Any]:
    """The arrays of unlike.npz as text, but for the scores that only set the threshold."""
    with np.load(file, allow_pickle=False) as known:
        found = {name: known[name] for name in known.files if name != "held_out"}
    return {
        name: {
            "shape": array.shape,
            "floats": base64.b64encode(array.astype("<f4").tobytes()).decode(),
        }
        for name, array in found.items()
    }


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def _script(path: Path, told: dict[str, Any]) -> None:
    """Write a script that hands values to the page.

    All but ASCII is escaped, and `<`, too: whatever a class is called, the script stays one.
    """
    with naming(path), path.open("w", encoding="ascii") as file:
        for name, value in told.items():
            text = json.dumps(value).replace("<", "\\u003c")
            file.write(f"EXPORTED.{name} = {text};\n")
