"""What refining a large batch costs: random vectors in mapped files, in a process of its own.

`python -m benchmarks.label_scale FOLDER IMAGES CLASSES` prints seconds and megabytes. Memory is
what the process holds itself, looked at all the time: pages of mapped files are not counted, which
the system takes back whenever it needs them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.labels.refine.batch import Batch, Space
from pipeline.labels.refine.refine import refine

_DIMS = 512
_INNER = 64  # of them, in which images differ: vectors of real images fill few
_BLOCK = 20_000
_SCATTER = 1.5  # length of an image's noise over that of its class's direction
_ASTRAY = 1.0  # length of a prompt's error over that of its class's direction
_SCALE = 30.0  # of the logits
_EVERY = 0.02  # seconds
_STATUS = Path("/proc/self/status")


def measure(images: int, classes: int) -> dict[str, Any]:
    """Make so many images of so many classes and refine them in a new process."""
    with tempfile.TemporaryDirectory(prefix="clip2yolo-labels-") as folder:
        _make(Path(folder), images, classes)
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.label_scale", folder, str(images), str(classes)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
    return json.loads(told.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _make(folder: Path, images: int, classes: int) -> None:
    """Vectors, probabilities and true classes: images scatter around directions that the prompts
    point to only roughly; class sizes fall geometrically to a twentieth."""
    rng = np.random.default_rng(0)
    outward = np.linalg.qr(rng.standard_normal((_DIMS, _INNER)))[0].T.astype(np.float32)
    directions = _unit(rng.standard_normal((classes, _INNER)))
    prompts = _unit(directions + _ASTRAY * _unit(rng.standard_normal((classes, _INNER))))
    sizes = np.geomspace(1, 0.05, classes)
    truth = rng.choice(classes, images, p=sizes / sizes.sum())
    np.save(folder / "truth.npy", truth)
    vectors, plain = (
        np.lib.format.open_memmap(folder / name, "w+", np.float32, (images, width))
        for name, width in (("vectors.npy", _DIMS), ("plain.npy", classes))
    )
    for start in range(0, images, _BLOCK):
        part = slice(start, min(start + _BLOCK, images))
        noise = _unit(rng.standard_normal((part.stop - start, _INNER)))
        seen = _unit(directions[truth[part]] + _SCATTER * noise)
        weights = np.exp(_SCALE * (seen @ prompts.T - 1))
        vectors[part] = seen @ outward
        plain[part] = weights / weights.sum(axis=1, keepdims=True)


def _unit(vectors: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def _work(folder: Path, images: int, classes: int) -> dict[str, Any]:
    import scipy.sparse  # noqa: F401 - what refinement loads is no part of what the images take

    vectors, plain, truth = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("vectors", "plain", "truth")
    )
    batch = Batch(
        classes=tuple(f"class {number}" for number in range(classes)),
        plain=plain,
        spaces=(Space("the teacher", vectors),),
        known=np.full(images, -1),
        votes=np.ones(images, np.float32),
    )
    with _Peak() as peak:
        started, computed = time.perf_counter(), time.process_time()
        found = refine(batch)
        seconds, computed = time.perf_counter() - started, time.process_time() - computed
    right = {"plain": _right(plain, truth), "auto": _right(found.probabilities, truth)}
    return {
        "images": images,
        "classes": classes,
        "dims": _DIMS,
        "seconds": seconds,
        "core_seconds": computed,  # tells what a busy machine hides
        "peak_mb": peak.megabytes,
        "refined": found.refined,
        **right,
    }


def _right(table: np.ndarray, truth: np.ndarray) -> float:
    """The share of rows (n, classes) that are largest at their true class (n,)."""
    parts = [slice(start, start + _BLOCK) for start in range(0, len(table), _BLOCK)]
    hits = sum(int((table[part].argmax(axis=1) == truth[part]).sum()) for part in parts)
    return hits / len(table)


class _Peak:
    """The most memory that this process holds itself while the block runs, above what it held
    before. None where the system does not tell."""

    megabytes: float | None = None

    def __enter__(self) -> _Peak:
        self._done = threading.Event()
        self._before = _held()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(_EVERY):
            if (now := _held()) is not None and self._before is not None:
                self.megabytes = max(self.megabytes or 0.0, now - self._before)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()


def _held() -> float | None:
    """Megabytes of this process that are no pages of files."""
    if not _STATUS.is_file():
        return None
    for line in _STATUS.read_text("ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1000
    return None


if __name__ == "__main__":
    print(json.dumps(_work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
