"""Timelines: what a change of class costs, where an event begins and ends, how sure it is."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.timeline import Event, find_events, watch
from pipeline.values import Sampling
from tests.fakes import ColorPredictor
from tests.films import write_video

LEAST = 0.05  # what a frame's doubt counts at most


def told(edges: list[float], shares: Any, min_seconds: float, classes: str = "ab") -> list[Event]:
    return find_events(np.array(edges), np.array(shares, float), list(classes), min_seconds)


def sure(course: str, of: float = 1.0) -> list[list[float]]:
    """Two classes' probabilities, frame by frame, for a course such as "aab"."""
    return [[of, 1 - of] if name == "a" else [1 - of, of] for name in course]


def every(step: float, course: str) -> list[float]:
    """Where frames of one length begin, and where the last one ends."""
    return [number * step for number in range(len(course) + 1)]


def names(events: list[Event]) -> str:
    return "".join(one.class_name for one in events)


@pytest.mark.parametrize(
    ("shown", "min_seconds", "course"),
    [
        # Sure frames, half a second each: what lasts longer than `min_seconds` is an event.
        ("b", 0.4, "aba"),
        ("b", 0.6, "a"),
        ("bb", 0.9, "aba"),
        ("bb", 1.0, "a"),  # as long as `min_seconds`: no better than without it
        ("bb", 1.1, "a"),
        ("bbb", 1.4, "aba"),
        ("bbb", 1.6, "a"),
        # `b` pays in the middle of ten frames on either side as it does in the middle of two.
        ("b" * 10, 4.9, "aba"),
        ("b" * 10, 5.1, "a"),
    ],
)
def test_what_lasts_less_is_flicker_and_what_lasts_more_an_event(
    shown: str, min_seconds: float, course: str
) -> None:
    frames = "a" * 20 + shown + "a" * 20
    assert names(told(every(0.5, frames), sure(frames), min_seconds)) == course


@pytest.mark.parametrize(("min_seconds", "course"), [(0.72, "aba"), (0.75, "a")])
def test_unsure_frames_say_less(min_seconds: float, course: str) -> None:
    # Ten frames of 0.9 say 10 ln(0.9 / 0.1) = 21.97; the changes there and back cost
    # -ln(0.05) min_seconds / 0.1 = 29.96 min_seconds, which is less up to 0.733 s.
    frames = "a" * 30 + "b" * 10 + "a" * 30
    assert names(told(every(0.1, frames), sure(frames, 0.9), min_seconds)) == course


def test_at_the_end_one_change_is_enough() -> None:
    # In the middle two frames pay for `min_seconds` of 1.0 at most, at the end for twice as much.
    for frames, course in (("aaaaabb", "ab"), ("aaaaab", "a"), ("aaaaabbaaaaa", "a")):
        assert names(told(every(0.5, frames), sure(frames), 1.6)) == course


def test_a_frame_counts_for_as_long_as_it_is_shown() -> None:
    # One frame of `b` among many short ones of `a`: its seconds count, not how many frames it is.
    shares = sure("a" * 20 + "b" + "a" * 20)
    for lasts, course in ((0.5, "a"), (0.9, "a"), (1.1, "aba"), (30.0, "aba")):
        edges = np.cumsum([0.0] + [0.1] * 20 + [lasts] + [0.1] * 20)
        events = told(edges.tolist(), shares, 1.0)
        assert names(events) == course
        if course == "aba":
            assert (events[1].start, events[1].end) == pytest.approx((2.0, 2.0 + lasts))
    # Nor do twenty frames that are shown together for a moment.
    edges = np.cumsum([0.0] + [0.5] * 5 + [0.01] * 20 + [0.5] * 5)
    assert names(told(edges.tolist(), sure("a" * 5 + "b" * 20 + "a" * 5), 0.4)) == "a"


def test_the_course_is_the_best_of_all() -> None:
    step, min_seconds, n = 1.0, 1.3, 6
    price = -np.log(LEAST) * min_seconds / step / 2
    courses = np.array(list(itertools.product(range(3), repeat=n)))
    changes = (np.diff(courses, axis=1) != 0).sum(axis=1)
    seen = set()
    for seed in range(40):
        shares = np.random.default_rng(seed).dirichlet([0.4] * 3, n)
        says = np.log(np.maximum(shares, LEAST))
        best = courses[(says[np.arange(n), courses].sum(axis=1) - price * changes).argmax()]
        events = told(every(step, "x" * n), shares, min_seconds, "abc")
        found = [
            one.class_name for one in events for _ in range(round((one.end - one.start) / step))
        ]
        assert found == ["abc"[kind] for kind in best], seed
        seen.add(len(events))
    assert len(seen) > 2


def test_events_begin_and_end_where_frames_do() -> None:
    events = told([0.25, 1.25, 1.75, 4.25, 5.25, 9.0], sure("aabba"), 0.0)
    assert [(one.class_name, one.start, one.end) for one in events] == [
        ("a", 0.25, 1.75),
        ("b", 1.75, 5.25),
        ("a", 5.25, 9.0),
    ]


def test_confidence_is_the_mean_over_the_events_own_frames() -> None:
    shares = [[0.9, 0.1], [0.6, 0.4], [0.25, 0.75], [0.0, 1.0]]
    events = told(every(1.0, "aabb"), shares, 0.0)
    assert [one.confidence for one in events] == pytest.approx([0.75, 0.875])
    # A frame that was taken for flicker counts in the event that it lies in, for that class.
    shares = [[1.0, 0.0], [0.25, 0.75], [1.0, 0.0], [0.75, 0.25]]
    (event,) = told(every(1.0, "aaaa"), shares, 9.0)
    assert event.class_name == "a" and event.confidence == pytest.approx(0.75)
    # By their seconds: 1 of 3 at 0.6, 2 of 3 at 0.9.
    (event,) = told([0.0, 1.0, 3.0], [[0.6, 0.4], [0.9, 0.1]], 0.0)
    assert event.confidence == pytest.approx(0.8)


def test_a_single_frame_is_an_event() -> None:
    assert told([3.5, 4.0], [[0.25, 0.75]], 2.0) == [Event(3.5, 4.0, "b", 0.75)]
    assert told([3.5, 3.5], [[0.25, 0.75]], 2.0) == [Event(3.5, 3.5, "b", 0.75)]


def test_frames_that_are_never_seen_are_no_events() -> None:
    edges = [0.0, 1.0, 1.0, 2.0, 2.0]
    assert told(edges, sure("abab"), 0.0) == [Event(0.0, 2.0, "a", 1.0)]


def test_zero_seconds_smooth_nothing() -> None:
    shares = [[0.51, 0.49], [0.49, 0.51]] * 4
    assert names(told(every(0.1, "x" * 8), shares, 0.0)) == "abababab"
    assert names(told(every(0.1, "x" * 8), shares, 0.01)) == "a"


def test_what_was_watched_is_counted(tmp_path: Path) -> None:
    # 37 frames: more than two batches, and the last batch is not full.
    film = write_video(tmp_path / "a.mkv", ["red"] * 17 + ["blue"] * 20, still=True)
    every_frame = watch(film, ColorPredictor(), Sampling(1, None, False), 0.3)
    assert every_frame.frames == 37
    assert every_frame.seconds == pytest.approx(3.7, abs=1e-3)  # the last frame is shown, too
    borders = [(one.class_name, one.start, one.end) for one in every_frame.events]
    assert borders == [
        ("red", 0.0, pytest.approx(1.7, abs=1e-3)),
        ("blue", pytest.approx(1.7, abs=1e-3), pytest.approx(3.7, abs=1e-3)),
    ]
    some = watch(film, ColorPredictor(), Sampling(None, 0.5, False), 0.0)
    assert some.frames == 8 and some.seconds == pytest.approx(3.7, abs=1e-3)
    assert some.problem is None
    # Longer than the film: it is all one class.
    assert len(watch(film, ColorPredictor(), Sampling(1, None, False), 60.0).events) == 1
