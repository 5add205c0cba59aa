"""Frames out of video files: chosen by number, time or difference, upright, as JPEG files.

Frames become files because everything after this treats pictures alike: they are hashed, cached,
linked into a dataset and looked at like photos.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config import Sampling
from pipeline.files import fingerprint, write_json
from pipeline.images.video import Damage, clock, read_frames
from pipeline.listener import Progress, no_progress

_QUALITY = 95  # of the JPEG files


@dataclass(frozen=True)
class FrameFile:
    """A frame that lies on disk."""

    path: Path
    video: Path
    number: int
    seconds: float


def extract(
    video: Path,
    sampling: Sampling,
    root: Path,
    max_pixels: int = 100_000_000,
    progress: Progress = no_progress,
) -> tuple[list[FrameFile], str | None]:
    """Write a video's frames below `root`, or find them there.

    A folder holds one video in one sampling; it is named after the file and a hash of its place,
    size, time and sampling. Started again after a kill, frames that are there are not written anew.

    Returns:
        The frames in their order, and a sentence about damage, or None.

    Raises:
        SourceError: nothing of it can be decoded.
        OSError: a frame cannot be written.
    """
    folder = _folder(video, sampling, root)
    known = _read_listing(folder / "frames.json")
    if known is None:
        folder.mkdir(parents=True, exist_ok=True)
        damage, rows = Damage(), []
        for frame in read_frames(video, sampling, damage, max_pixels, progress):
            name = f"{_plain(video.stem)}_{clock(frame.seconds).replace(':', '-')}.jpg"
            if not (folder / name).is_file():
                aside = folder / f".{name}"
                frame.image.save(aside, "JPEG", quality=_QUALITY, subsampling=0)
                aside.replace(folder / name)
            rows.append({"file": name, "number": frame.number, "seconds": round(frame.seconds, 6)})
        known = {"video": str(video), "frames": rows, "damage": damage.sentence()}
        write_json(folder / "frames.json", known)
    frames = [
        FrameFile(folder / row["file"], video, row["number"], row["seconds"])
        for row in known["frames"]
    ]
    return frames, known["damage"]


def has_frames(video: Path, sampling: Sampling, root: Path) -> bool:
    """Say whether `extract` would find all frames written already."""
    return _read_listing(_folder(video, sampling, root) / "frames.json") is not None


def _folder(video: Path, sampling: Sampling, root: Path) -> Path:
    state = video.stat()
    key = fingerprint(str(video), state.st_size, state.st_mtime_ns, asdict(sampling))
    return root / f"{_plain(video.stem)}-{key[:12]}"


def forget_others(root: Path, keep: Sequence[FrameFile]) -> None:
    """Remove the frames of videos and samplings that a run does not use any more."""
    kept = {frame.path.parent for frame in keep}
    for folder in root.glob("*"):
        if folder.is_dir() and folder not in kept:
            shutil.rmtree(folder)


def with_frames(images: pl.DataFrame, frames: Sequence[FrameFile]) -> pl.DataFrame:
    """Fill in the columns `video`, `frame` and `seconds` of images that are frames."""
    if not frames:
        return images
    known = pl.DataFrame(
        {
            "path": [str(frame.path) for frame in frames],
            "video": [str(frame.video) for frame in frames],
            "frame": [frame.number for frame in frames],
            "seconds": [frame.seconds for frame in frames],
        }
    )
    order = images.columns
    return images.drop("video", "frame", "seconds").join(known, "path", "left").select(order)


def _read_listing(path: Path) -> dict[str, Any] | None:
    try:
        known: dict[str, Any] = json.loads(path.read_text("utf-8"))
        whole = all((path.parent / row["file"]).is_file() for row in known["frames"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known if whole else None


def _plain(stem: str) -> str:
    """A file's stem, shortened and without what some file systems refuse."""
    kept = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in stem)
    short = kept.strip(" .")[:60].encode()[:120].decode("utf-8", "ignore")
    return short or hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()[:8]
