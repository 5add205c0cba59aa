"""What a Ray cluster costs beside the local engine, on one machine: `python -m benchmarks cluster`.

2,000 photos go through a random ViT-B/32, by the local engine on one and two cores and by one and
two workers of a cluster, by turns, each in a process of its own with an empty cache. Rates are
those between the first and the last vectors; what starting takes is told apart. Machines are
shared, so the processor seconds of all processes, in that time, stand beside the clock's. Then the
driver's memory is measured as rows grow from 2,000 to 200,000, with pictures that cost next to
nothing to see; and once more, when all their vectors are there. CLIP2YOLO_CLUSTER_ROUNDS=0 measures
the memory alone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from benchmarks.photos import photos, random_vit
from pipeline.config import LabelConfig, TeacherConfig
from pipeline.files import sha256_of
from pipeline.storage.shards import entries_of
from pipeline.teachers import load_teacher
from pipeline.teachers.base import Sight
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines import threads
from pipeline.teachers.engines.ray import RayEngine
from pipeline.terminal import print_table

_PHOTOS = 2000
_ROUNDS = 1  # of six quiet minutes each; CLIP2YOLO_CLUSTER_ROUNDS asks for more
_ROWS = (2_000, 20_000, 200_000)
_A_SHARD = 10_000  # images
_RESULTS = Path(__file__).parent / "results" / "cluster.json"


def main() -> None:
    """Run all cases by turns and print what they cost."""
    count = int(os.environ.get("CLIP2YOLO_CLUSTER_PHOTOS", _PHOTOS))
    rounds = int(os.environ.get("CLIP2YOLO_CLUSTER_ROUNDS", _ROUNDS))
    with tempfile.TemporaryDirectory(prefix="clip2yolo-cluster-") as folder:
        home = Path(folder)
        memory = _memories(home)
        _keep({"driver": memory})  # whatever becomes of the rest
        print_table(
            "The driver's memory",
            ["rows", "peak above start, MB", "bytes a further row", "all vectors there, MB"],
            [
                [f"{row['rows']:,}", f"{row['above']:.0f}", _number(row), f"{row['again']:.0f}"]
                for row in memory
            ],
        )
        if not rounds:
            return
        photos(home / "photos", count)
        random_vit(home / "model")
        speed = _speeds(home, rounds)
    head = ["engine", "workers", "images/s", "beside local", "processor s/image", "beside local"]
    rows = []
    for row in speed:
        local = next(
            one for one in speed if one["engine"] == "local" and one["workers"] == row["workers"]
        )
        row["rate_beside_local"] = round(row["images_per_second"] / local["images_per_second"], 3)
        row["processor_beside_local"] = round(
            row["processor_seconds"] / local["processor_seconds"], 3
        )
        rows.append([
            row["engine"], str(row["workers"]), f"{row['images_per_second']:.1f}",
            f"{row['rate_beside_local']:.2f}", f"{row['processor_seconds']:.4f}",
            f"{row['processor_beside_local']:.2f}",
        ])  # fmt: skip
    print_table(f"{count:,} photos, ViT-B/32", head, rows)
    _keep({"photos": count, "rounds": rounds, "speed": speed})


def _keep(results: dict[str, Any]) -> None:
    """Put these in the place of what was measured before; the rest of that stays."""
    place = Path(os.environ.get("CLIP2YOLO_CLUSTER_RESULTS", _RESULTS))
    kept = json.loads(place.read_text("utf-8")) if place.is_file() else {}
    place.write_text(json.dumps(kept | results, indent=2) + "\n", "utf-8")


def _number(row: dict[str, float]) -> str:
    return f"{row['bytes_a_row']:.0f}" if "bytes_a_row" in row else ""


def _speeds(home: Path, rounds: int) -> list[dict[str, Any]]:
    cases = [(engine, workers) for workers in (1, 2) for engine in ("local", "ray")]
    told: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in cases}
    for number in range(rounds):
        for case in cases:
            told[case].append(_in_process("speed", str(home), *map(str, case), str(number)))
    return [
        {"engine": engine, "workers": workers}
        | {name: round(statistics.median(one[name] for one in runs), 5) for name in runs[0]}
        for (engine, workers), runs in told.items()
    ]


def _memories(home: Path) -> list[dict[str, float]]:
    found = []
    sizes = [int(word) for word in os.environ.get("CLIP2YOLO_CLUSTER_ROWS", "").split()] or _ROWS
    for size in sizes:
        _draw(home / "shards" / str(size), size)
        found.append({"rows": size} | _in_process("memory", str(home), str(size)))
        if len(found) > 1:
            more = 1e6 * (found[-1]["above"] - found[-2]["above"])
            found[-1]["bytes_a_row"] = round(more / (size - found[-2]["rows"]), 1)
    return found


def _in_process(*words: str) -> dict[str, float]:
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.cluster", *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(told.stdout.splitlines()[-1])  # type: ignore[no-any-return]


class _Viewer:
    """A sight and how it is loaded elsewhere: see `Viewer`."""

    def __init__(self, sight: Sight, settings: TeacherConfig, loader: Any) -> None:
        self.sight, self.settings, self.loader = sight, settings, loader


def _measure(home: Path, engine: str, workers: int, number: int) -> dict[str, float]:
    """Seconds and rates of one case."""
    import ray

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:workers])
    started = time.perf_counter()
    settings = TeacherConfig(model=f"local-dir:{home / 'model'}", device="cpu", compile="never")
    viewer = _Viewer(load_teacher(settings), settings, partial(load_teacher, sentences=()))
    images = [(sha256_of(path), str(path)) for path in sorted((home / "photos").iterdir())]
    told: list[tuple[float, int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        cache = EmbeddingCache(Path(folder), viewer.sight.fingerprint)
        seen = partial(_note, told)
        if engine == "local":
            threads.run(viewer, images, cache, 10**8, seen)
        else:
            os.environ["CLIP2YOLO_CACHE"] = folder
            from pipeline.cluster import check_installed

            check_installed()
            ray.init(address="local", num_cpus=workers, include_dashboard=False)
            RayEngine(LabelConfig(engine="ray"))(viewer, images, cache, 10**8, seen)
            ray.shutdown()
    (first, begun, worked), (last, done, all_worked) = (
        next(one for one in told if one[1]),
        next(one for one in told if one[1] == len(images)),
    )
    return {
        "images_per_second": (done - begun) / (last - first),
        "seconds": last - started,
        "first_vectors_after": first - started,
        "processor_seconds": (all_worked - worked) / (done - begun),  # an image
    }


def _note(told: list[tuple[float, int, float]], done: int, total: int) -> None:
    told.append((time.perf_counter(), done, _processor_seconds()))


def _processor_seconds() -> float:
    """Of this process and all below it, those of a cluster that it has started among them."""
    import psutil

    me = psutil.Process()
    spent = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        spent += times.user + times.system
    return spent


def _draw(folder: Path, size: int) -> None:
    """Fill tar shards with small pictures that all differ, up to so many."""
    import io
    import tarfile

    folder.mkdir(parents=True)
    for start in range(0, size, _A_SHARD):
        file = folder / f"{start:09d}.tar"
        count = min(_A_SHARD, size - start)
        with tarfile.open(file, "w") as tar:
            for number in range(start, start + count):
                pixels = np.frombuffer(number.to_bytes(4, "big") * 16 * 3, np.uint8)
                made = io.BytesIO()
                Image.fromarray(pixels.reshape(8, 8, 3)).save(made, "BMP")
                about = tarfile.TarInfo(f"{number:09d}.bmp")
                about.size = len(made.getvalue())
                tar.addfile(about, io.BytesIO(made.getvalue()))


class Glance(Sight):
    """Sees next to nothing, at once."""

    name = fingerprint = "glance"
    dim, parameters, device = 512, 0, "cpu"

    def prepare(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((8, 8)), np.uint8)

    def embed_images(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        flat = np.stack(batch).reshape(len(batch), -1).astype(np.float32) + 1
        wide = np.resize(flat, (len(batch), self.dim)).astype(np.float32)
        return wide / np.linalg.norm(wide, axis=1, keepdims=True)  # type: ignore[no-any-return]


def glance(settings: TeacherConfig) -> Sight:
    """Load it."""
    return Glance()


def _rows(folder: Path) -> Iterator[tuple[str, str]]:
    import hashlib

    for file in sorted(folder.glob("*.tar")):
        for place, data in entries_of(str(file), lambda name: True):
            assert isinstance(data, bytes)
            yield hashlib.sha256(data).hexdigest(), place


def _measure_memory(home: Path, size: int) -> dict[str, float]:
    """Megabytes that the driver takes beyond what it has before it is given images, and beyond
    their table: `above`, and `again` when all vectors are in the cache."""
    from pipeline.cluster import connected

    images = pl.DataFrame(
        list(_rows(home / "shards" / str(size))), {"id": pl.String, "path": pl.String}, orient="row"
    )
    with tempfile.TemporaryDirectory() as folder, connected(None):
        os.environ["CLIP2YOLO_CACHE"] = folder
        viewer = _Viewer(Glance(), TeacherConfig(model="glance", device="cpu"), glance)
        above, seconds = [], []
        for wanted in (size, 0):
            before = _peak(anew=True)
            started = time.perf_counter()
            done = RayEngine(LabelConfig(engine="ray"))(
                viewer, images, EmbeddingCache(Path(folder), "glance"), 10**8, lambda *_: None
            )
            seconds.append(time.perf_counter() - started)
            assert done.computed == wanted and not done.failures
            above.append(round(_peak() - before, 1))
    return {"above": above[0], "again": above[1], "seconds": round(seconds[0], 1)}


def _peak(anew: bool = False) -> float:
    """The most memory that this process has had, in MB. What `getrusage` says would begin with the
    peak of the process that has started this one."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    what, place, *more = sys.argv[1:]
    if what == "memory":
        found = _measure_memory(Path(place), int(more[0]))
    else:
        found = _measure(Path(place), more[0], int(more[1]), int(more[2]))
    print(json.dumps(found))
