"""Draw the built-in sample: `PYTHONPATH=datasets python -m packing_line.render`."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from packing_line import film
from packing_line.scene import CLASSES, frame

VERSION = 1  # of the drawings: raise it when the same seed draws other pictures
SHARES = {"orange": 0.30, "apple": 0.28, "banana": 0.24, "nothing": 0.18}
_POOL, _TEST = 0, 1
_PARTS = ("images", "test", "film", "pool_truth.csv", "sample.json")
_HERE = Path(__file__).resolve().parent


class SampleError(Exception):
    """The sample cannot be drawn; the message says why and what to do."""


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


def _draw(job: Job, root: Path) -> None:
    picture = Image.fromarray(frame(job.kind, job.seed, job.stream, job.index))
    quality = int(np.random.default_rng([job.seed, job.stream, job.index, 8]).integers(86, 94))
    picture.save(root / job.path, quality=quality)


def _draw_chunk(jobs: list[Job], root: Path) -> int:
    for job in jobs:
        _draw(job, root)
    return len(jobs)


def _chunks(jobs: Iterable[Job], size: int) -> list[list[Job]]:
    rest = iter(jobs)
    return list(iter(lambda: list(islice(rest, size)), []))


def _draw_all(jobs: list[Job], root: Path, workers: int) -> None:
    done, started, shown = 0, time.monotonic(), sys.stderr.isatty()
    with ProcessPoolExecutor(workers) as pool:
        chunks = _chunks(jobs, 20)
        for count in pool.map(_draw_chunk, chunks, [root] * len(chunks)):
            done += count
            if shown:
                seconds = time.monotonic() - started
                print(f"\rDrawing {done}/{len(jobs)} ({seconds:.0f} s)", end="", file=sys.stderr)
    if shown:
        print(file=sys.stderr)


def _stamp(images: int, test: int, seed: int) -> dict[str, int]:
    return {"version": VERSION, "seed": seed, "images": images, "test": test}


def _present(out: Path) -> list[str]:
    return [part for part in _PARTS if (out / part).exists()]


def draw_sample(
    out: Path,
    images: int = 1200,
    test: int = 400,
    seed: int = 0,
    workers: int = 2,
    force: bool = False,
) -> bool:
    """Draw the sample into `out`; False when the same sample is there already.

    Writes `images/`, `test/<class>/`, `film/`, `pool_truth.csv` and, last, `sample.json`.
    Everything is drawn aside first, so that a killed run leaves an older sample as it was or no
    stamp at all.
    Raises SampleError for impossible counts, and where another sample is in the way and `force`
    is not given.
    """
    if images < len(CLASSES) * 5 or test < len(CLASSES) or test % len(CLASSES):
        raise SampleError(
            "The sample needs at least 20 images and a multiple of 4 test images, "
            f"not {images} and {test}."
        )
    if workers < 1 or seed < 0:
        raise SampleError("The number of workers must be 1 or more and the seed 0 or more.")
    stamp = _stamp(images, test, seed)
    found = _present(out)
    if "sample.json" in found and set(found) == set(_PARTS):
        try:
            same = json.loads((out / "sample.json").read_text(encoding="utf-8")) == stamp
        except ValueError:
            same = False
        if same and not force:
            return False
    # Parts without a stamp are what a killed run left while moving them in: safe to replace.
    if "sample.json" in found and not force:
        raise SampleError(f"{out} holds a sample made otherwise; --force replaces it.")
    if found and "sample.json" not in found and not force and not (out / ".moving").exists():
        raise SampleError(f"{out} holds files that are not a whole sample; --force replaces them.")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sample-", dir=out.parent) as aside:
        _write(Path(aside), stamp, workers)
        _move_in(Path(aside), out)
    return True


def _write(root: Path, stamp: dict[str, int], workers: int) -> None:
    jobs = plan(stamp["images"], stamp["test"], stamp["seed"])
    (root / "images").mkdir()
    for kind in CLASSES:
        (root / "test" / kind).mkdir(parents=True)
    _draw_all(jobs, root, workers)
    with (root / "pool_truth.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "class"])
        rows.writerows((job.path, job.kind) for job in jobs if job.stream == _POOL)
    _film(root / "film", stamp["seed"], workers)
    (root / "sample.json").write_text(json.dumps(stamp) + "\n", encoding="utf-8")


def _film(folder: Path, seed: int, workers: int) -> None:
    """Write `line.mp4`, 22 seconds of the line at work, and `truth.csv` beside it."""
    folder.mkdir()
    count = round(film.SECONDS * film.RATE)
    with ProcessPoolExecutor(workers) as pool:
        frames = list(pool.map(film.film_frame, range(count), [seed] * count, chunksize=8))
    film.write_film(folder / "line.mp4", frames)
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["start", "end", "class"])
        rows.writerows((f"{a:.3f}", f"{b:.3f}", kind) for a, b, kind in film.truth())


def _move_in(aside: Path, out: Path) -> None:
    """Replace the old parts by the new ones; the stamp goes first and comes last."""
    marker = out / ".moving"
    marker.touch()
    for part in reversed(_PARTS):
        old = out / part
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for part in _PARTS:
        (aside / part).replace(out / part)
    marker.unlink()


def contact_sheet(path: Path, seed: int = 0, columns: int = 10, rows: int = 2) -> None:
    """Write a PNG with `rows` rows of `columns` frames for each class, named at the left."""
    side, margin = 128, 72
    height = len(CLASSES) * rows * side
    sheet = Image.new("RGB", (margin + columns * side, height), "#16181a")
    pen = ImageDraw.Draw(sheet)
    for row, kind in enumerate(kind for kind in CLASSES for _ in range(rows)):
        if row % rows == 0:
            pen.text((10, row * side + rows * side // 2 - 6), kind, fill="#d8d8d4")
        for column in range(columns):
            index = row * columns + column
            picture = Image.fromarray(frame(kind, seed, _TEST, 1_000_000 + index))
            sheet.paste(picture, (margin + column * side, row * side))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> None:  # type: ignore[override]
            raise SampleError(f"{message[:1].upper()}{message[1:]}; --help lists the options.")

    parser = Parser(prog="packing_line.render", description="Draw the built-in sample.")
    parser.add_argument("--out", type=Path, default=_HERE, help="folder (default: beside this)")
    parser.add_argument("--images", type=int, default=1200, help="unlabeled images (1200)")
    parser.add_argument("--test", type=int, default=400, help="labeled test images (400)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--force", action="store_true", help="replace another sample")
    parser.add_argument("--contact-sheet", type=Path, metavar="FILE.png",
                        help="draw only an overview of the classes")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    try:
        args = _arguments(argv)
        if args.contact_sheet:
            contact_sheet(args.contact_sheet, max(args.seed, 0))
            print(f"Wrote {args.contact_sheet}.")
            return 0
        started = time.monotonic()
        new = draw_sample(args.out, args.images, args.test, args.seed, args.workers, args.force)
    except (SampleError, OSError) as error:
        print(f"packing_line.render: {error}", file=sys.stderr)
        return 2
    if new:
        seconds = time.monotonic() - started
        print(f"Drew {args.images} images and {args.test} test images in {args.out} "
              f"({seconds:.0f} s).")  # fmt: skip
    else:
        print(f"The sample in {args.out} is complete; nothing to do.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
