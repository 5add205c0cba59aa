"""A short film of the line: fruit after fruit passes the camera, with gaps between them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.sample.painter import Scene, develop, render
from pipeline.sample.painter.noise import Array
from pipeline.sample.painter.scene import Finish, Ground
from pipeline.sample.scene import SIZE, compose

RATE = 8  # frames a second
SPEED = 1.1  # decimetres a second, along x
_STREAM = 2  # of the random numbers; 0 and 1 are the pictures'
_LINE = 19  # which line of that stream: its camera, belt and light
_SEEN = 1.05  # decimetres from the middle up to which a fruit is in the picture

# What passes, and when its middle passes the camera's, in seconds. Two of the gaps are empty belt
# for longer.
PASSES = ((2.0, "orange"), (5.0, "apple"), (8.0, "banana"), (13.0, "orange"), (16.0, "banana"),
          (19.0, "apple"))  # fmt: skip
SECONDS = 22.0


def truth() -> list[tuple[float, float, str]]:
    """What the film shows: (start, end, class) in seconds, without gaps."""
    half = _SEEN / SPEED
    events: list[tuple[float, float, str]] = []
    at = 0.0
    for middle, kind in PASSES:
        events.append((at, middle - half, "nothing"))
        events.append((middle - half, middle + half, kind))
        at = middle + half
    events.append((at, SECONDS, "nothing"))
    return events


def film_frame(number: int, seed: int) -> NDArray[np.uint8]:
    """Draw frame `number` (128, 128, 3)."""
    seconds = number / RATE
    nearest = int(np.argmin([abs(seconds - middle) for middle, _ in PASSES]))
    middle, kind = PASSES[nearest]
    empty, lens = compose("nothing", seed, _STREAM, _LINE)
    full, _ = compose(kind, seed, _STREAM, _LINE + nearest)
    parts = len(compose("nothing", seed, _STREAM, _LINE + nearest)[0].bodies)
    shift = np.array([SPEED * (seconds - middle), 0, 0], np.float32)
    # A scene lists its fruit before what lies about on the line.
    fruit = [
        replace(b, position=b.position + shift) for b in full.bodies[: len(full.bodies) - parts]
    ]
    scene = Scene(
        empty.camera, empty.light, _moved(empty.ground, SPEED * seconds), (*fruit, *empty.bodies)
    )
    calm = replace(lens, defocus=min(lens.defocus, 0.7), motion=(1.0, 0.0))
    grain = np.random.default_rng([seed, _STREAM, number, 7])
    return develop(render(scene, 2 * SIZE), SIZE, calm, grain)


def _moved(ground: Ground, by: float) -> Ground:
    def moved(x: Array, y: Array) -> Finish:
        return ground(x - np.float32(by), y)

    return moved


def write_film(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """Encode the frames as H.264 in MP4; the same frames give the same film on one machine."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=RATE, options={"crf": "18", "threads": "1"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(stream.encode())
