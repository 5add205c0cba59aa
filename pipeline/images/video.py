"""Frames out of video files: chosen by number, time or difference, upright, as JPEG files.

Frames become files because everything after this treats pictures alike: they are hashed, cached,
linked into a dataset and looked at like photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from pipeline.errors import SourceError
from pipeline.listener import Progress, no_progress
from pipeline.pixels import MAX_PIXELS
from pipeline.values import Sampling

VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"),
        *(".mpg", ".mpeg", ".ts", ".3gp", ".wmv", ".mjpeg"),
    )
)
_SIMILAR = 3.0  # mean difference of grey levels, 0 to 255, up to which two frames count as alike
_ROUNDED = 1e-3  # seconds to which a film's times may be rounded, as in Matroska
_THUMBNAIL = (16, 9)  # small, so that the noise of a camera averages out


@dataclass(frozen=True)
class Frame:
    """One frame, turned upright."""

    number: int  # from 0, in the order of showing
    seconds: float  # from the video's first frame
    image: Image.Image


@dataclass
class Damage:
    """What could not be decoded of a video; told while its frames are read."""

    packets: int = 0
    first: float | None = None  # seconds of the last good frame before it
    reason: str = ""

    def count(self, reason: str) -> None:
        """Add a piece that could not be decoded; the first reason stands for all."""
        self.packets += 1
        self.reason = self.reason or reason

    def sentence(self) -> str | None:
        """Return what to tell a person, or None for a video that is whole."""
        if not self.packets:
            return None
        after = "from its beginning" if self.first is None else f"after {clock(self.first)}"
        return (
            f"It is damaged {after} ({self.reason}); what can be decoded is used, "
            f"{self.packets:,} piece{'s' if self.packets > 1 else ''} cannot."
        )


@dataclass
class _Chooser:
    """Decides which frames are kept."""

    sampling: Sampling
    due: float = 0.0  # seconds
    last: np.ndarray | None = field(default=None, repr=False)

    def wants(self, number: int, seconds: float) -> bool:
        """Say whether the frame's number or time is on the grid that was asked for."""
        if self.sampling.frames is not None:
            return number % self.sampling.frames == 0
        step = self.sampling.seconds
        assert step is not None
        near = min(_ROUNDED, step / 2)
        if seconds < self.due - near:
            return False
        # The next point of the grid, so that a late frame does not shift all that follow.
        self.due = (np.floor((seconds + near) / step) + 1) * step
        return True

    def differs(self, image: Image.Image) -> bool:
        """Say whether the frame differs from the last one that was kept."""
        if not self.sampling.skip_similar:
            return True
        small = image.convert("L").resize(_THUMBNAIL, Image.Resampling.BOX)
        grey = np.asarray(small, np.float32)
        if self.last is not None and float(np.abs(grey - self.last).mean()) <= _SIMILAR:
            return False
        self.last = grey
        return True


def clock(seconds: float) -> str:
    """Return a time as "01:02:03.400"."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def read_frames(
    video: Path,
    sampling: Sampling,
    damage: Damage | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> Iterator[Frame]:
    """Yield the frames that `sampling` asks for; memory does not grow with the video's length.

    Pieces that cannot be decoded are passed over and counted in `damage`. Times are the video's
    own, so a variable frame rate is followed.

    Args:
        progress: told in whole seconds of the video.

    Raises:
        SourceError: the file is no video, or not one frame of it can be decoded.
    """
    damage = damage if damage is not None else Damage()
    try:
        container = av.open(str(video), metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SourceError(f"{video} cannot be opened as a video ({_short(error)}).") from error
    with container:
        if not container.streams.video:
            raise SourceError(f"{video} has no picture track.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if stream.width * stream.height > max_pixels:
            raise SourceError(
                f"{video} has frames of {stream.width * stream.height:,} pixels, more than "
                f"`max_pixels` ({max_pixels:,})."
            )
        chooser, start, seconds = _Chooser(sampling), None, None
        length = int(container.duration / av.time_base) if container.duration else 0
        number = 0
        for frame in _decoded(container, stream, damage):
            at = _time(frame, number, stream.average_rate)
            start = at if start is None else start
            seconds = max(0.0, at - start)
            if damage.packets == 0:
                damage.first = seconds
            if chooser.wants(number, seconds):
                image = _upright(frame)
                if chooser.differs(image):
                    yield Frame(number, seconds, image)
                progress(min(int(seconds), length), length)
            number += 1
        if number == 0:
            raise SourceError(f"Not one frame of {video} can be decoded ({damage.reason}).")
        if seconds is not None and seconds < 0.9 * length - 1:
            damage.count(f"it should last {clock(length)}")


def _decoded(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, OSError) as error:  # the file ends before it says it would
            damage.count(_short(error))
            return
        try:
            for frame in packet.decode():
                if frame.is_corrupt:  # patched up by the decoder with what it showed before
                    damage.count("a frame is incomplete")
                else:
                    yield frame
        except (av.FFmpegError, ValueError) as error:
            damage.count(_short(error))


def _time(frame: Any, number: int, rate: Fraction | None) -> float:
    if frame.time is not None:
        return float(frame.time)
    return number / float(rate or 25)


def _upright(frame: Any) -> Image.Image:
    image: Image.Image = frame.to_image()
    turn = int(frame.rotation)
    return image.rotate(turn, expand=True) if turn else image


def find_videos(path: Path) -> list[Path]:
    """Return the video files of a file or a folder (searched to the bottom), sorted.

    Raises:
        SourceError: there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SourceError(f"{path} does not exist. Correct `source` in the config.")
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in VIDEO_SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise SourceError(f"There is no video in {path}. Correct `source` in the config.")
    return found


def _short(error: Exception) -> str:
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return str(text)[:120].rstrip(". ")
