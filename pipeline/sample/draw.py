"""Draw the built-in sample into a folder, whole or not at all."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image

from pipeline.errors import ConfigError, WorkspaceError
from pipeline.files import write_json
from pipeline.listener import SILENT, Listener, Progress
from pipeline.sample import film
from pipeline.sample.scene import CLASSES, frame

VERSION = 1  # of the drawings: raise it when the same seed draws other pictures
SHARES = {"orange": 0.30, "apple": 0.28, "banana": 0.24, "nothing": 0.18}
_POOL, _TEST = 0, 1
_PARTS = ("images", "test", "film", "pool_truth.csv", "sample.json")
_CHUNK = 20  # pictures that a process draws before it tells


@dataclass(frozen=True)
class Job:
    """One picture to draw, and where below the sample's folder it belongs."""

    path: str
    kind: str
    seed: int
    stream: int
    index: int


def plan(images: int, test: int, seed: int) -> list[Job]:
    """The pool's pictures in shuffled class order, then the test set's, class by class."""
    rng = np.random.default_rng([seed, 99])
    counts = {kind: round(images * share) for kind, share in SHARES.items()}
    counts["orange"] += images - sum(counts.values())
    kinds = [kind for kind in CLASSES for _ in range(counts[kind])]
    rng.shuffle(kinds)
    jobs = [Job(f"images/frame_{i:06d}.jpg", kind, seed, _POOL, i) for i, kind in enumerate(kinds)]
    for i in range(test):
        kind = CLASSES[i * len(CLASSES) // test]
        jobs.append(Job(f"test/{kind}/{kind}_{i:06d}.jpg", kind, seed, _TEST, i))
    return jobs


def draw_sample(
    out: Path,
    images: int = 1200,
    test: int = 400,
    seed: int = 0,
    workers: int = 2,
    listener: Listener = SILENT,
) -> bool:
    """Draw the sample into `out`; False when the same sample is there already.

    Writes `images/`, `test/<class>/`, `film/`, `pool_truth.csv` and, last, `sample.json`.
    Everything is drawn aside first, in `.drawing/`: a killed run leaves no half of a sample, and
    what it has drawn is not drawn again.

    Args:
        images: how many without labels.
        test: how many with labels, a multiple of the number of classes.
        seed: decides every pixel.
        workers: processes.
        listener: told what is drawn.

    Raises:
        ConfigError: impossible counts, or something else is in the way.
        WorkspaceError: another process is drawing there.
    """
    if images < len(CLASSES) * 5 or test < len(CLASSES) or test % len(CLASSES):
        raise ConfigError(
            "The sample needs at least 20 images and a multiple of 4 test images, "
            f"not {images} and {test}."
        )
    if workers < 1 or seed < 0:
        raise ConfigError("The number of workers must be 1 or more and the seed 0 or more.")
    stamp = {"version": VERSION, "seed": seed, "images": images, "test": test}
    if _is_there(out, stamp):
        return False
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            _draw_aside(out / ".drawing", stamp, workers, listener)
            _move_in(out / ".drawing", out)
    except Timeout:
        raise WorkspaceError(
            f"Another process is drawing in {out}. Wait until it has finished."
        ) from None
    return True


def _is_there(out: Path, stamp: dict[str, int]) -> bool:
    """Whether this very sample is in `out`; refuses what must not be replaced."""
    found = [part for part in _PARTS if (out / part).exists()]
    if "sample.json" in found:
        if len(found) == len(_PARTS) and _read(out / "sample.json") == stamp:
            return True
        raise ConfigError(f"{out} holds a sample made otherwise. Remove it or name another folder.")
    # Parts without a stamp are what a killed run left while moving them in: safe to replace.
    if found and not (out / ".moving").exists():
        raise ConfigError(
            f"{out} holds files that are not a whole sample ({', '.join(found)}). Remove them, or "
            "name another folder."
        )
    return False


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _draw_aside(root: Path, stamp: dict[str, int], workers: int, listener: Listener) -> None:
    if _read(root / "sample.json") != stamp:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        write_json(root / "sample.json", stamp)
    jobs = plan(stamp["images"], stamp["test"], stamp["seed"])
    for folder in {(root / job.path).parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    with (
        ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent
        ) as pool,
        listener.bar("Drawing", "images") as progress,
    ):
        _draw_all([job for job in jobs if not (root / job.path).exists()], root, pool, progress)
        _film(root / "film", stamp["seed"], pool)
    with (root / "pool_truth.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "class"])
        rows.writerows((job.path, job.kind) for job in jobs if job.stream == _POOL)


def _end_with_parent() -> None:
    """Have this process end when the one that asked for it does, even if that one was killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _draw_all(jobs: list[Job], root: Path, pool: ProcessPoolExecutor, progress: Progress) -> None:
    chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]
    done = 0
    for count in pool.map(_draw_chunk, chunks, [root] * len(chunks)):
        done += count
        progress(done, len(jobs))


def _draw_chunk(jobs: list[Job], root: Path) -> int:
    for job in jobs:
        picture = Image.fromarray(frame(job.kind, job.seed, job.stream, job.index))
        grain = np.random.default_rng([job.seed, job.stream, job.index, 8])
        part = root / f"{os.getpid()}.jpg"  # not among the pictures, should it be cut off
        picture.save(part, quality=int(grain.integers(86, 94)))
        part.replace(root / job.path)
    return len(jobs)


def _film(folder: Path, seed: int, pool: ProcessPoolExecutor) -> None:
    """Write `line.mp4`, 22 seconds of the line at work, and `truth.csv` beside it."""
    folder.mkdir(exist_ok=True)
    count = round(film.SECONDS * film.RATE)
    frames = list(pool.map(film.film_frame, range(count), [seed] * count, chunksize=8))
    film.write_film(folder / "line.mp4", frames)
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["start", "end", "class"])
        rows.writerows((f"{a:.3f}", f"{b:.3f}", kind) for a, b, kind in film.truth())


def _move_in(aside: Path, out: Path) -> None:
    """Put the parts into their places; the stamp comes last."""
    marker = out / ".moving"
    marker.touch()
    for part in _PARTS:
        if (out / part).is_dir():
            shutil.rmtree(out / part)
        (aside / part).replace(out / part)
    shutil.rmtree(aside)
    marker.unlink()
