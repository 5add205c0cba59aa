"""Frames out of video files: chosen by number, time or difference, as a player shows them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.format import Flags
from av.stream import Disposition
from PIL import Image

from pipeline.errors import SourceError
from pipeline.images.kinds import VIDEO_SUFFIXES
from pipeline.images.timing import Chooser, FilmTime
from pipeline.listener import Progress, no_progress
from pipeline.pixels import MAX_PIXELS
from pipeline.values import Sampling


@dataclass(frozen=True)
class Frame:
    """One frame as it is shown: upright, in its own proportions."""

    number: int  # from 0, in the order of showing
    seconds: float  # from the video's first frame
    until: float  # seconds at which the next one that is taken appears, or at which the film ends
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

    Of a grid of times it is the frame that is shown at each of them, each frame once. Pieces that
    cannot be decoded, and frames that are too large, are passed over and counted in `damage`. Times
    are the video's own, so a variable frame rate is followed; where they start anew or jump, time
    goes on.

    Args:
        progress: told in whole seconds of the video.

    Raises:
        SourceError: the file is no video, or not one frame of it can be decoded.
    """
    damage = damage if damage is not None else Damage()
    with _opened(video) as container:
        track = _Track(container, _picture_track(video, container), damage, max_pixels)
        pixels = track.pixels(track.stream)
        if pixels > max_pixels:
            raise SourceError(
                f"{video} has frames of {pixels:,} pixels, more than `max_pixels` ({max_pixels:,})."
            )
        chooser, kept, end, number = Chooser(sampling), None, 0.0, -1
        length = int(track.length)
        for number, (picture, start, end) in enumerate(track.timed()):
            if not chooser.wants(number, start, end):
                continue
            image = track.shown(picture)
            if image is not None and chooser.differs(image):
                if kept is not None:
                    yield replace(kept, until=start)
                kept = Frame(number, start, end, image)
            progress(min(int(start), length), length)
        if kept is not None:
            yield replace(kept, until=end)
        if number < 0 or kept is None:
            raise SourceError(f"Not one frame of {video} can be decoded ({damage.reason}).")
        if track.ends_early(end):
            damage.count(f"it should last {clock(length)}")


@contextlib.contextmanager
def _opened(video: Path) -> Iterator[Any]:
    """Open a video, and nothing else: its name is not taken for an address, and nothing is opened
    that it names, as a playlist does."""
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(video.open("rb"))
            # No protocol is called so; the file itself needs none.
            only = {"protocol_whitelist": "none"}
            container = av.open(file, metadata_errors="ignore", options=only)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{video} cannot be opened as a video ({_short(error)}).") from error
        yield opened.enter_context(container)


def _picture_track(video: Path, container: Any) -> Any:
    """The track that a player shows: the one flagged as default, of several the largest, and never
    a cover."""
    tracks = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic
    ]
    if not tracks:
        raise SourceError(f"{video} has no picture track.")

    def rank(stream: Any) -> tuple[bool, int]:
        return bool(stream.disposition & Disposition.default), stream.width * stream.height

    return max(tracks, key=rank)  # the first of equals


class _Track:
    """The pictures of a film, decoded in their order."""

    def __init__(self, container: Any, stream: Any, damage: Damage, max_pixels: int) -> None:
        self.container = container
        self.stream = stream
        self.damage = damage
        self.max_pixels = max_pixels
        self.aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        self.whole = container.duration / av.time_base if container.duration else 0.0
        # Its own length, where that was not derived from the container's.
        own = stream.start_time is not None and stream.duration
        self.own_length = float(own * stream.time_base) if own else None
        self.length = self.whole if self.own_length is None else self.own_length
        self.others = 0.0  # seconds up to which the other tracks have come
        self.time = FilmTime(
            restarts=bool(container.format.flags & Flags.ts_discont.value),
            length=self.whole,
            otherwise=float(1 / (stream.average_rate or stream.guessed_rate or 25)),
        )
        stream.thread_type = "AUTO"
        # Where the size changes in the middle, the decoder itself refuses what is far too large. It
        # counts whole blocks, so it is left some room.
        room = min(2 * max_pixels + 2**16, 2**31 - 1)
        stream.codec_context.options = {"max_pixels": str(room)}

    def pixels(self, picture: Any) -> int:
        """How many a frame, or what the track says of all of them, is shown with."""
        width, height = self._size(picture)
        return width * height

    def _size(self, picture: Any) -> tuple[int, int]:
        # No pixel is lost: the side on which they are too narrow grows.
        if self.aspect >= 1:
            return round(picture.width * self.aspect), picture.height
        return picture.width, round(picture.height / self.aspect)

    def timed(self) -> Iterator[tuple[Any, float, float]]:
        """Yield each frame with the seconds at which it appears and at which the next one does."""
        before, began = None, 0.0
        for picture in self._decoded():
            stated = float((picture.duration or 0) * (picture.time_base or 0))
            start = self.time.tell(picture.time, stated)
            if self.damage.packets == 0:
                self.damage.first = start
            if before is not None:
                yield before, began, start
            before, began = picture, start
        if before is not None:
            yield before, began, began + self.time.lasts()

    def _decoded(self) -> Iterator[Any]:
        packets = self.container.demux()
        while True:
            try:
                packet = next(packets)
            except (StopIteration, IndexError):
                # PyAV 18.1 ends by emptying the decoder of every track, in their order, and raises
                # IndexError at one that came up in the middle: ours has been emptied by then.
                return
            except (av.FFmpegError, OSError) as error:  # the file ends before it says it would
                self.damage.count(_short(error))
                return
            if packet.stream.index != self.stream.index:
                self._pass(packet)
                continue
            try:
                for picture in packet.decode():
                    if picture.is_corrupt:  # patched up by the decoder with what it showed before
                        self.damage.count("a frame is incomplete")
                    elif self.pixels(picture) > self.max_pixels:
                        self.damage.count(
                            f"a frame has {self.pixels(picture):,} pixels, more than "
                            f"`max_pixels` ({self.max_pixels:,})"
                        )
                    else:
                        yield picture
            except (av.FFmpegError, ValueError, MemoryError) as error:
                self.damage.count(_short(error))

    def _pass(self, packet: Any) -> None:
        """Note how far another track has come."""
        if packet.pts is not None and packet.stream.type == "audio":
            began = (self.container.start_time or 0) / av.time_base
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base) - began
            self.others = max(self.others, end)

    def ends_early(self, end: float) -> bool:
        """Say whether a file ends long before it should: whether neither the pictures nor, where
        only the length of all is known, the sound come near to it."""
        reached = end if self.own_length is not None else max(end, self.others)
        return not self.time.jumped and reached < 0.9 * int(self.length) - 1

    def shown(self, picture: Any) -> Image.Image | None:
        """Return a frame as a player shows it: in its own proportions, turned and mirrored as it
        says; None where it cannot be converted."""
        try:
            image: Image.Image = picture.to_image()
            matrix = picture.side_data.get("DISPLAYMATRIX")
        except (av.FFmpegError, ValueError, MemoryError) as error:
            self.damage.count(_short(error))
            return None
        if image.size != self._size(picture):
            image = image.resize(self._size(picture), Image.Resampling.BICUBIC)
        return image if matrix is None else _turned(image, np.frombuffer(matrix, np.int32))


def _turned(image: Image.Image, matrix: np.ndarray) -> Image.Image:
    """Apply a display matrix (9,): a point (x, y) is shown at (ax + cy, bx + dy)."""
    a, b, _, c, d = matrix[:5].astype(float).tolist()
    if a * d < b * c:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        a, b = -a, -b
    turn = round(math.degrees(math.atan2(b, a)))  # clockwise, since y points down
    return image.rotate(-turn, expand=True) if turn else image


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
