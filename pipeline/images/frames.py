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

from pipeline.errors import SourceError, WorkspaceError
from pipeline.files import fingerprint, write_json
from pipeline.images.video import Damage, clock, read_frames
from pipeline.listener import Listener, Progress, no_progress
from pipeline.pixels import MAX_PIXELS
from pipeline.values import Sampling

_QUALITY = 95  # of the JPEG files
_READING = 2  # how films are read: what an earlier way left is made anew


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
    max_pixels: int = MAX_PIXELS,
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
    known = _read_listing(folder / "frames.json", max_pixels)
    if known is None:
        if (folder / "frames.json").is_file():
            shutil.rmtree(folder)  # of an earlier way of reading, or not whole any more
        folder.mkdir(parents=True, exist_ok=True)
        known = _write_frames(video, sampling, folder, max_pixels, progress)
        write_json(folder / "frames.json", known)
    if known.get("unusable"):
        raise SourceError(known["unusable"])
    return _listed(video, folder, known), known["damage"]


def _write_frames(
    video: Path, sampling: Sampling, folder: Path, max_pixels: int, progress: Progress
) -> dict[str, Any]:
    damage, rows, taken = Damage(), [], set()
    try:
        for frame in read_frames(video, sampling, damage, max_pixels, progress):
            name = f"{_plain(video.stem)}_{clock(frame.seconds).replace(':', '-')}.jpg"
            if name in taken:  # at the same time to the thousandth
                name = f"{name.removesuffix('.jpg')}_{frame.number}.jpg"
            taken.add(name)
            if not (folder / name).is_file():
                aside = folder / f".{name}"
                frame.image.save(aside, "JPEG", quality=_QUALITY, subsampling=0)
                aside.replace(folder / name)
            rows.append({"file": name, "number": frame.number, "seconds": round(frame.seconds, 6)})
    except SourceError as error:
        # Noted, so that looking at the run again needs no decoder to know what the film is worth.
        return {
            "frames": [],
            "damage": None,
            "unusable": str(error),
            "max_pixels": max_pixels,
            "reading": _READING,
        }
    return {"video": str(video), "frames": rows, "damage": damage.sentence(), "reading": _READING}


def _listed(video: Path, folder: Path, known: dict[str, Any]) -> list[FrameFile]:
    return [
        FrameFile(folder / row["file"], video, row["number"], row["seconds"])
        for row in known["frames"]
    ]


def extract_all(
    videos: Sequence[tuple[Path, Sampling]], root: Path, max_pixels: int, listener: Listener
) -> None:
    """Write the frames of all videos below `root`, and remove those of videos and samplings that
    are not among them. What is damaged is told.

    Raises:
        OSError: a frame cannot be written.
    """
    kept = set()
    for video, sampling in videos:
        with listener.bar(video.name, "seconds") as progress:
            try:
                _, problem = extract(video, sampling, root, max_pixels, progress)
            except SourceError as error:
                problem = str(error)
        if problem:
            listener.warn(f"{video.name}: {problem}")
        kept.add(_folder(video, sampling, root))
    for folder in root.glob("*"):
        if folder.is_dir() and folder not in kept:
            shutil.rmtree(folder)


def known_frames(
    videos: Sequence[tuple[Path, Sampling]], root: Path, max_pixels: int
) -> tuple[list[FrameFile], dict[Path, str]]:
    """Return the frames that `extract_all` has written, and what is damaged: video → a sentence.

    Raises:
        WorkspaceError: the frames of a video are not there.
    """
    frames: list[FrameFile] = []
    damaged: dict[Path, str] = {}
    for video, sampling in videos:
        folder = _folder(video, sampling, root)
        known = _read_listing(folder / "frames.json", max_pixels)
        if known is None:
            raise WorkspaceError(f"The frames of {video} are not there. Run `clip2yolo label`.")
        frames += _listed(video, folder, known)
        if problem := known.get("unusable") or known["damage"]:
            damaged[video] = problem
    return frames, damaged


def _folder(video: Path, sampling: Sampling, root: Path) -> Path:
    state = video.stat()
    key = fingerprint(str(video), state.st_size, state.st_mtime_ns, asdict(sampling))
    return root / f"{_plain(video.stem)}-{key[:12]}"


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


def _read_listing(path: Path, max_pixels: int) -> dict[str, Any] | None:
    """What is known of a video; None where it must be decoded (again)."""
    try:
        known: dict[str, Any] = json.loads(path.read_text("utf-8"))
        names = {row["file"] for row in known["frames"]}
        whole = all((path.parent / name).is_file() for name in names)
        whole = whole and known.get("reading") == _READING
        # Another limit may let in what was too large before.
        same_limit = known.get("max_pixels", max_pixels) == max_pixels
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return known if whole and same_limit else None


def _plain(stem: str) -> str:
    """A file's stem, shortened and without what some file systems refuse."""
    kept = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in stem)
    short = kept.strip(" .")[:60].encode()[:120].decode("utf-8", "ignore")
    return short or hashlib.sha256(stem.encode("utf-8", "surrogatepass")).hexdigest()[:8]
