"""Does the cost of an image stay the same as images grow many, and the memory flat?

Small JPEGs stand for the images, and random vectors for what a teacher would have made of them,
since embedding a million takes hours; everything else is what `clip2yolo label` does: scan, look
up, label, find near-duplicates, deal splits, write tables. Exporting is the file system's affair
and left out.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.photos import random_vit
from pipeline.terminal import print_table

SIZES = (10_000, 100_000, 1_000_000)
_A_FOLDER = 10_000  # files
_RESULTS = Path(__file__).parent / "results" / "scale.json"


def main() -> None:
    """Run each size in a process of its own and print what an image costs."""
    rows, results = [], []
    with tempfile.TemporaryDirectory(prefix="clip2yolo-scale-") as folder:
        sizes = [int(word) for word in os.environ.get("CLIP2YOLO_SCALE", "").split()] or list(SIZES)
        for size in sizes:
            figures = measure(Path(folder), size)
            results.append({"images": size} | {k: round(v, 3) for k, v in figures.items()})
            each = [f"{figures[part] / size * 1e6:,.0f}" for part in ("first", "again", "dataset")]
            rows.append(
                [f"{size:,}", *each, f"{figures['relabel']:.2f} s", f"{figures['above']:,.0f} MB"]
            )
    head = ["images", "first time", "other prompts", "splits", "labels alone", "peak"]
    print_table("Microseconds an image, vectors cached", head, rows)
    print(
        "First time: scan, hash, label. Splits: near-duplicates and splits. "
        "Peak: memory above what loading the model takes."
    )
    if sizes == list(SIZES):
        _RESULTS.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


def measure(folder: Path, size: int) -> dict[str, float]:
    """Make images up to `size` in the folder and label them in a new process."""
    images = folder / "images"
    for start in range(0, size, _A_FOLDER):
        part = images / f"{start // _A_FOLDER:04d}"
        if not part.is_dir():
            part.mkdir(parents=True)
            _draw(part, start)
    shutil.rmtree(folder / "runs", ignore_errors=True)
    environment = os.environ | {"CLIP2YOLO_CACHE": str(folder / "cache")}
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale", str(folder), str(size)],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(told.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _draw(folder: Path, start: int) -> None:
    for number in range(start, start + _A_FOLDER):
        (folder / f"{number:07d}.jpg").write_bytes(_jpeg(number))


@cache
def _drawing() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=40)
    return buffer.getvalue()


def _jpeg(number: int) -> bytes:
    """One of many JPEGs that all differ: the same drawing, with its number in a comment."""
    drawing, comment = _drawing(), b"\xff\xfe\x00\x0a" + number.to_bytes(8, "big")
    return drawing[:2] + comment + drawing[2:]


def _work(folder: Path, size: int) -> dict[str, float]:
    from pipeline.config import parse_config
    from pipeline.dataset.plan import plan_dataset
    from pipeline.dataset.stage import EXPORT, vectors_of
    from pipeline.labels.stage import LABEL
    from pipeline.run.stage import Run, carry_out
    from pipeline.teachers.panel import cache_of, load_panel

    count = size // _A_FOLDER
    settings = {
        "source": [str(folder / "images" / f"{number:04d}") for number in range(count)],
        "workspace": str(folder / "runs" / str(size)),
        "ontology": {f"a photo of a thing {n}": f"class {n}" for n in range(10)},
        "teacher": {"model": f"local-dir:{random_vit(folder / 'model')}"},
        "label": {"min_confidence": 0.0},
    }
    config = parse_config(settings, folder / "scale.yaml")
    ontology = Run.of(config).ontology
    panel = load_panel(config.teachers, ontology, ontology.classes)
    loaded = _peak()
    vectors_of_images = cache_of(panel.members[0].teacher)
    dim = panel.members[0].teacher.dim
    del panel  # `label` loads its own
    rng = np.random.default_rng(0)
    for start in range(0, size, 4096):
        numbers = range(start, min(start + 4096, size))
        ids = [hashlib.sha256(_jpeg(number)).hexdigest() for number in numbers]
        vectors = rng.standard_normal((len(ids), dim), np.float32)
        vectors_of_images.put(ids, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    vectors_of_images.merge()

    def label() -> tuple[float, float]:
        started = time.perf_counter()
        run = Run.of(config)
        with run.workspace.locked():
            stamp = carry_out(LABEL, run)
        return time.perf_counter() - started, stamp.counts.seconds_to_label

    first, _ = label()
    settings["ontology"] = {f"a picture of thing {n}": f"class {n}" for n in range(10)}
    config = parse_config(settings, folder / "scale.yaml")
    again, relabel = label()
    started = time.perf_counter()
    run = Run.of(config)
    accepted = EXPORT.look(run).accepted
    plan_dataset(accepted, vectors_of(run, accepted), config.dataset)
    dataset = time.perf_counter() - started
    return {
        "first": first,
        "again": again,
        "relabel": relabel,
        "dataset": dataset,
        "above": _peak() - loaded,
    }


def _peak() -> float:
    """Megabytes that this process has had in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    print(json.dumps(_work(Path(sys.argv[1]), int(sys.argv[2]))))
