"""Videos: sampling, odd files, frames as a source, timelines. All written here with PyAV."""

from __future__ import annotations

import itertools
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Sampling, SplitsConfig, seconds_of
from pipeline.dataset import assign_splits, frame_blocks, straddling
from pipeline.errors import SourceError
from pipeline.timeline import find_events, watch
from pipeline.video import Damage, clock, extract, find_videos, forget_others, read_frames
from tests.fakes import COLORS, NAMES, ColorPredictor, sha256

EVERY = Sampling(1, None, False)


def write_video(
    path: Path, colors: list[str], times: list[float] | None = None, rate: int = 10, still: int = 0
) -> Path:
    """Write a film that shows one color a frame, shot in 64×48, with a mark in its top left."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=rate, options={"g": "5", "qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.time_base = Fraction(1, 1000)
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


def turn(path: Path) -> None:
    """Mark an MP4 as filmed with the phone on its side: by a matrix, the pixels stay."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 4 + 4 + 4 + 4 + 4 + 8 + 2 + 2 + 2 + 2
    one = 1 << 16
    struct.pack_into(">9i", data, at, 0, one, 0, -one, 0, 0, 48 * one, 0, 1 << 30)
    path.write_bytes(data)


def test_every_nth_frame_and_every_so_many_seconds(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mp4", ["red"] * 30)
    numbers = [frame.number for frame in read_frames(film, Sampling(7, None, False))]
    assert numbers == [0, 7, 14, 21, 28]
    seconds = [frame.seconds for frame in read_frames(film, Sampling(None, 0.5, False))]
    assert seconds == pytest.approx([0, 0.5, 1.0, 1.5, 2.0, 2.5], abs=1e-3)


def test_a_variable_frame_rate_is_followed(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.2, 0.3, 1.7, 1.8, 1.9, 3.0]
    film = write_video(tmp_path / "a.mkv", ["red"] * 8, times)
    found = [frame.seconds for frame in read_frames(film, EVERY)]
    assert found == pytest.approx(times, abs=2e-3)
    kept = [frame.number for frame in read_frames(film, Sampling(None, 1.0, False))]
    assert kept == [0, 4, 7]  # the first at or after each whole second


def test_only_frames_that_differ(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mp4", ["red"] * 9 + ["blue"] * 9 + ["red"] * 5)
    kept = [frame.number for frame in read_frames(film, Sampling(1, None, True))]
    assert kept == [0, 9, 18]


def test_phone_videos_stand_upright(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mp4", ["blue"] * 3)
    plain = next(read_frames(film, EVERY)).image
    turn(film)
    turned = next(read_frames(film, EVERY)).image
    assert plain.size == (64, 48) and turned.size == (48, 64)
    corners = [np.asarray(turned)[y, x].mean() > 200 for y, x in ((4, 4), (4, 43), (59, 4))]
    assert corners == [False, True, False]  # turned clockwise, top left becomes top right


def test_damage_is_passed_over_and_told(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mkv", ["red", "blue"] * 40)
    data = bytearray(film.read_bytes())
    data[len(data) // 2 : len(data) // 2 + len(data) // 9] = bytes([0x55]) * (len(data) // 9)
    film.write_bytes(data[: len(data) * 9 // 10])
    damage = Damage()
    found = list(read_frames(film, EVERY, damage))
    assert 10 < len(found) < 80
    sentence = damage.sentence()
    assert sentence is not None and "damaged after 00:00:0" in sentence
    whole = write_video(tmp_path / "b.mp4", ["red"] * 20)
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(SourceError, match="cannot be opened as a video"):
        list(read_frames(whole, EVERY))  # an MP4's index stands at its end
    (tmp_path / "c.mp4").write_text("no film")
    with pytest.raises(SourceError, match="cannot be opened as a video"):
        list(read_frames(tmp_path / "c.mp4", EVERY))
    with pytest.raises(SourceError, match="max_pixels"):
        list(read_frames(film, EVERY, max_pixels=100))


def test_a_sound_without_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as film:
        stream = film.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.rate = 8000
        film.mux(stream.encode(sound))
    with pytest.raises(SourceError, match="no picture track"):
        list(read_frames(tmp_path / "a.mkv", EVERY))


def test_frames_are_written_once_and_named_by_source_and_time(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a b.mp4", ["red", "blue"] * 10)
    root = tmp_path / "frames"
    first, damage = extract(film, Sampling(5, None, False), root)
    assert damage is None
    assert [frame.path.name for frame in first] == [
        f"a b_{clock(second).replace(':', '-')}.jpg" for second in (0, 0.5, 1.0, 1.5)
    ]
    before = {frame.path: (sha256(frame.path), frame.path.stat().st_mtime_ns) for frame in first}
    again, _ = extract(film, Sampling(5, None, False), root)
    assert again == first
    # A killed run: some frames are there, the list of them is not.
    first[-1].path.unlink()
    (first[0].path.parent / "frames.json").unlink()
    resumed, _ = extract(film, Sampling(5, None, False), root)
    assert resumed == first
    assert {f.path: sha256(f.path) for f in resumed} == {p: s for p, (s, _) in before.items()}
    kept = resumed[0].path
    assert kept.stat().st_mtime_ns == before[kept][1]
    other, _ = extract(film, Sampling(10, None, False), root)
    forget_others(root, other)
    assert not kept.exists() and other[0].path.exists()


def test_a_folder_of_videos(tmp_path: Path) -> None:
    write_video(tmp_path / "b.MP4", ["red"] * 3)
    (tmp_path / "sub").mkdir()
    write_video(tmp_path / "sub" / "a.mkv", ["red"] * 3)
    (tmp_path / ".hidden.mp4").touch()
    assert [path.name for path in find_videos(tmp_path)] == ["b.MP4", "a.mkv"]


@pytest.mark.parametrize(("text", "seconds"), [("0.5s", 0.5), ("200ms", 0.2), (" 2 m ", 120.0)])
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)
    for wrong in ("5", "s", "-1s", "0s", "1 week"):
        with pytest.raises(ValueError, match="duration"):
            seconds_of(wrong)


@given(
    lengths=st.lists(st.integers(5, 200), min_size=1, max_size=3),
    step=st.sampled_from([0.04, 0.5, 1.0, 3.0]),
    seed=st.integers(0, 50),
)
def test_neighbouring_frames_never_straddle_a_split(
    lengths: list[int], step: float, seed: int
) -> None:
    rows = [
        {"video": f"film{number}", "seconds": index * step, "length": (count - 1) * step}
        for number, count in enumerate(lengths)
        for index in range(count)
    ]
    images = pl.DataFrame(rows)
    ids = [f"{row['video']}-{row['seconds']:.2f}" for row in rows]
    found = assign_splits(ids, frame_blocks(images), SplitsConfig(), seed)
    splits = list(found.splits)
    for row in straddling(images, splits):
        splits[row] = None
    kept = [(row, split) for row, split in zip(rows, splits, strict=True) if split is not None]
    for (one, first), (other, second) in itertools.pairwise(kept):
        # Half of a stretch, which is a twentieth of the film, from 1 to 10 seconds.
        near = min(5.0, max(0.5, one["length"] / 40))
        if one["video"] == other["video"] and other["seconds"] - one["seconds"] <= near:
            assert first == second
    assert len(kept) > len(rows) / 2


def test_a_timeline_without_flicker() -> None:
    times = np.arange(40) / 10
    truth = np.array([0] * 10 + [1] * 14 + [0] * 16)
    shares = np.where(truth[:, None] == np.arange(2)[None], 0.9, 0.1)
    shares[[4, 30]] = shares[[4, 30]][:, ::-1]  # two frames are wrong
    events = find_events(times, shares, ["a", "b"], 0.4)
    assert [(one.class_name, one.start, one.end) for one in events] == [
        ("a", 0.0, pytest.approx(0.95)),
        ("b", pytest.approx(0.95), pytest.approx(2.35)),
        ("a", pytest.approx(2.35), pytest.approx(4.0)),
    ]
    assert events[1].confidence == pytest.approx(0.9)
    assert len(find_events(times, shares, ["a", "b"], 0.0)) == 7


@given(
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=60), least=st.sampled_from([0, 0.2, 5])
)
def test_events_cover_the_video_without_gaps(shares: list[float], least: float) -> None:
    times = np.arange(len(shares)) * 0.1
    table = np.stack([shares, 1 - np.array(shares)], axis=1)
    events = find_events(times, table, ["a", "b"], least)
    assert events[0].start == 0 and events[-1].end >= times[-1]
    for one, other in itertools.pairwise(events):
        assert one.end == other.start and one.class_name != other.class_name


def test_watching_a_film(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mp4", ["red"] * 20 + ["blue"] * 20 + ["red"] * 20)
    watched = watch(film, ColorPredictor(), Sampling(None, 0.1, False), 0.3)
    assert [one.class_name for one in watched.events] == ["red", "blue", "red"]
    assert [one.start for one in watched.events] == pytest.approx([0, 1.95, 3.95], abs=0.02)
    assert watched.frames == 60 and watched.problem is None and set(NAMES) > {"red", "blue"}
