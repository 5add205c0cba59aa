"""The drawn training set: rendered in parallel once, kept in parts, resumed when cut off."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_world.captions import COLORS, KINDS, LIGHTS, PLACES, Facts
from pocket_world.scene import SIZE, draw

PART = 500  # pictures to a file
TRAIN, HELD_OUT = 0, 1
_COLORS = [*COLORS, "none"]
_PLACES = list(PLACES)
_LIGHTS = [*LIGHTS, "plain"]


@dataclass(frozen=True)
class World:
    """Pictures (N, 64, 64, 3) and the facts of each."""

    pixels: NDArray[np.uint8]
    facts: list[Facts]


def _encode(facts: Facts) -> list[int]:
    return [
        KINDS.index(facts.thing or ""), _COLORS.index(facts.color or ""), facts.count or 0,
        _PLACES.index(facts.place or ""), _LIGHTS.index(facts.light or ""),
    ]  # fmt: skip


def _decode(row: NDArray[np.int16]) -> Facts:
    thing, color, count, place, light = (int(value) for value in row)
    return Facts(KINDS[thing], _COLORS[color], count, _PLACES[place], _LIGHTS[light])


def _draw_part(path: Path, seed: int, stream: int, start: int, count: int) -> None:
    pictures = [draw(seed, stream, start + i) for i in range(count)]
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    with aside.open("wb") as file:
        np.savez(
            file,
            pixels=np.stack([picture.pixels for picture in pictures]),
            facts=np.array([_encode(picture.facts) for picture in pictures], np.int16),
        )
    aside.replace(path)


def world(
    folder: Path,
    count: int,
    seed: int,
    stream: int,
    workers: int,
    report: Callable[[int, int], None],
) -> World:
    """Draw `count` pictures of a stream, or read the parts in `folder` that are drawn already.

    `report` is told how many pictures of how many are there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [min(PART, count - start) for start in range(0, count, PART)]
    paths = [folder / f"{seed}-{stream}-{i:04d}-{size}.npz" for i, size in enumerate(sizes)]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    if missing:
        with ProcessPoolExecutor(workers) as pool:
            jobs = [
                pool.submit(_draw_part, paths[i], seed, stream, i * PART, sizes[i]) for i in missing
            ]
            for number, job in enumerate(jobs, start=1):
                job.result()
                report(min(count, (len(paths) - len(missing) + number) * PART), count)
    pixels = np.empty((count, SIZE, SIZE, 3), np.uint8)
    facts: list[Facts] = []
    for path in paths:
        with np.load(path) as part:
            pixels[len(facts) : len(facts) + len(part["facts"])] = part["pixels"]
            facts += [_decode(row) for row in part["facts"]]
    return World(pixels, facts)
