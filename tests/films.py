"""Films for the tests: drawn frame by frame and written with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.fakes import COLORS


def write_video(
    path: Path,
    colors: Sequence[str],
    times: Sequence[float] | None = None,
    rate: int = 10,
    still: bool = False,
    aspect: Fraction | None = None,
    codec: str = "mpeg4",
) -> Path:
    """Write a film that shows one color a frame, shot in 64×48, with a mark in its top left; its
    pixels are `aspect` times as wide as they are high."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as film:
        stream = film.add_stream(codec, rate=rate, options={"g": "5", "qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if codec == "mpeg4":  # others know no time between the frames of their rate
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for number, name in enumerate(colors):
            pixels = np.full((48, 64, 3), COLORS[name], np.float32)
            pixels += 0 if still else rng.normal(0, 10, pixels.shape)
            pixels[:12, :16] = 255
            frame = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="rgb24")
            at = times[number] if times else number / rate
            frame.pts, frame.time_base = round(at * 1000), Fraction(1, 1000)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return path


def write_greys(path: Path, levels: Sequence[int], rate: int = 10) -> Path:
    """Write a film of even grey frames whose levels come back exactly."""
    pictures = (np.full((48, 64, 3), level, np.uint8) for level in levels)
    return write_pictures(path, [Image.fromarray(pixels) for pixels in pictures], rate)


def write_pictures(path: Path, pictures: Sequence[Image.Image], rate: int = 10) -> Path:
    """Write a film of RGB pictures of one size that come back exactly: nothing is lost in PNG."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("png", rate=rate)
        (stream.width, stream.height), stream.pix_fmt = pictures[0].size, "rgb24"
        for number, shown in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.asarray(shown), format="rgb24")
            frame.pts = number
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return path
