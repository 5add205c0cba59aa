"""What a video shows and when: frame by frame answers, smoothed into events."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.images.video import Damage, Frame, read_frames
from pipeline.listener import Progress, no_progress
from pipeline.pixels import MAX_PIXELS
from pipeline.pool import work_ahead
from pipeline.records import Predictor
from pipeline.values import Sampling

_BATCH = 16
_LEAST = 0.05  # probability below which one frame's doubt counts no further


@dataclass(frozen=True)
class Event:
    """One class for a while."""

    start: float  # seconds from the video's first frame
    end: float
    class_name: str
    confidence: float  # mean probability of the class over the event's seconds


@dataclass(frozen=True)
class Watched:
    """A video's events, and how much of it there was."""

    events: list[Event]
    frames: int
    seconds: float
    problem: str | None  # a sentence about damage


def watch(
    video: Path,
    predictor: Predictor,
    sampling: Sampling,
    min_seconds: float,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = no_progress,
) -> Watched:
    """Ask the predictor about a video's frames and smooth the answers into events.

    Memory holds a few dozen frames and one row of probabilities a frame. A frame counts
    from when it appears until the next one that was looked at does.

    Args:
        min_seconds: what lasts less is taken for flicker.
        progress: told in whole seconds of the video.

    Raises:
        SourceError: nothing of the video can be decoded.
    """
    damage = Damage()
    frames = read_frames(video, sampling, damage, max_pixels, progress)
    edges: list[float] = []
    answers: list[np.ndarray] = []

    def take(_: None) -> list[Frame]:
        return list(itertools.islice(frames, _BATCH))

    # The next batch is decoded while the predictor works; an empty one comes after the last.
    coming = work_ahead(take, itertools.repeat(None), workers=1, ahead=1, name="video")
    with contextlib.closing(coming) as batches:
        for batch in itertools.takewhile(bool, batches):
            edges[-1:] = [batch[0].seconds, *(frame.until for frame in batch)]
            answers.append(predictor.predict([predictor.prepare(frame.image) for frame in batch]))
    events = find_events(np.array(edges), np.concatenate(answers), predictor.classes, min_seconds)
    return Watched(events, len(edges) - 1, edges[-1], damage.sentence())


def find_events(
    edges: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], min_seconds: float
) -> list[Event]:
    """Return the timeline of the likeliest course of classes, if changing class has a price.

    The course is found by Viterbi's algorithm (1967): each frame speaks for a class by the
    logarithm of its probability, for as many seconds as it is shown, and a change costs as much as
    `min_seconds` can say at most, so that what is shorter does not pay for a change there and back.
    An event begins with its first frame and ends where the next event begins.

    Args:
        edges: seconds (n + 1,), never falling, at which each frame appears and the last one ends.
        probabilities: (n, classes), n at least 1.
        min_seconds: what lasts less is taken for flicker; 0 smooths nothing.
    """
    seconds = np.diff(edges)
    if not seconds.any():
        seconds = np.ones(len(seconds))  # a film that lasts no time: its frames count alike
    # What is never seen, since the next frame has the same time, is no event.
    seen = np.flatnonzero(seconds)
    seconds, probabilities = seconds[seen], probabilities[seen]
    edges = np.append(edges[seen], edges[-1])
    says = np.log(np.maximum(probabilities, _LEAST)) * seconds[:, None]
    course = _cheapest(says, float(-np.log(_LEAST)) * min_seconds / 2)
    starts = [0, *(np.flatnonzero(np.diff(course)) + 1).tolist(), len(course)]
    return [
        Event(
            start=float(edges[first]),
            end=float(edges[stop]),
            class_name=classes[int(course[first])],
            confidence=float(
                np.average(probabilities[first:stop, course[first]], weights=seconds[first:stop])
            ),
        )
        for first, stop in itertools.pairwise(starts)
    ]


def _cheapest(says: np.ndarray, price: float) -> np.ndarray:
    """The class (n,) of each frame on the course with the greatest sum of `says` less `price` for
    each change."""
    n, classes = says.shape
    came_from = np.empty((n, classes), np.int32)
    total = says[0].copy()
    own = np.arange(classes)
    for row in range(1, n):
        best = int(total.argmax())
        change = total[best] - price
        came_from[row] = np.where(total >= change, own, best)
        total = np.maximum(total, change) + says[row]
    course = np.empty(n, np.int64)
    course[-1] = int(total.argmax())
    for row in range(n - 1, 0, -1):
        course[row - 1] = came_from[row, course[row]]
    return course
