"""Videos: sampling, odd files, frames as a source, timelines. All written here with PyAV."""

from __future__ import annotations

import bisect
import itertools
import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.config import SplitsConfig
from pipeline.dataset.splits import assign_splits
from pipeline.errors import SourceError, WorkspaceError
from pipeline.images.films import frame_blocks, straddling
from pipeline.images.frames import extract, extract_all, known_frames
from pipeline.images.video import Damage, clock, find_videos, read_frames
from pipeline.listener import SILENT
from pipeline.timeline import find_events, watch
from pipeline.values import Sampling, seconds_of
from tests.fakes import COLORS, NAMES, ColorPredictor, sha256
from tests.films import write_greys, write_video

MAX_PIXELS = 100_000_000
EVERY = Sampling(1, None, False)


def has_frames(film: Path, sampling: Sampling, root: Path) -> bool:
    try:
        known_frames([(film, sampling)], root, MAX_PIXELS)
    except WorkspaceError:
        return False
    return True


def lengthen(path: Path, seconds: float) -> None:
    """Let a Matroska file's header say that it lasts so long."""
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # the element Duration, a double of milliseconds
    struct.pack_into(">d", data, at, seconds * 1000)
    path.write_bytes(data)


def numbers(film: Path, sampling: Sampling) -> list[int]:
    return [frame.number for frame in read_frames(film, sampling)]


def mean_color(path: Path) -> list[float]:
    """Of the lower half of a picture, where no mark is."""
    with Image.open(path) as image:
        half: np.ndarray = np.asarray(image.convert("RGB"), float)[24:]
    return half.mean(axis=(0, 1)).tolist()  # type: ignore[no-any-return]


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
    assert kept == [0, 3, 6, 7]  # what is shown at each whole second


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
    extract_all([(film, Sampling(10, None, False))], root, MAX_PIXELS, SILENT)
    other, _ = extract(film, Sampling(10, None, False), root)
    assert not kept.exists() and other[0].path.exists()


def test_a_film_that_is_none_is_remembered_until_it_or_the_limit_changes(tmp_path: Path) -> None:
    bad, good, root = tmp_path / "bad.mp4", tmp_path / "good.mp4", tmp_path / "frames"
    bad.write_text("no film")
    write_video(good, ["red"] * 10)
    videos = [(bad, EVERY), (good, EVERY)]
    extract_all(videos, root, MAX_PIXELS, SILENT)
    frames, damaged = known_frames(videos, root, MAX_PIXELS)
    assert len(frames) == 10 and "cannot be opened as a video" in damaged[bad]
    extract_all(videos, root, 100, SILENT)  # 64 x 48 are more than that; what is there, stays
    assert "cannot be opened" in known_frames(videos, root, 100)[1][bad]
    small = tmp_path / "small"
    extract_all(videos, small, 100, SILENT)
    assert "more than `max_pixels` (100)" in known_frames(videos, small, 100)[1][good]
    with pytest.raises(WorkspaceError):
        known_frames(videos, small, MAX_PIXELS)
    extract_all(videos, small, MAX_PIXELS, SILENT)
    assert len(known_frames(videos, small, MAX_PIXELS)[0]) == 10


def test_a_film_that_ends_before_it_should_is_told(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mkv", ["red", "blue"] * 50, rate=5)
    data = film.read_bytes()
    film.write_bytes(data[: len(data) // 2])
    damage = Damage()
    found = list(read_frames(film, EVERY, damage))
    sentence = damage.sentence()
    assert 20 < len(found) < 80 and sentence is not None
    assert "damaged after 00:00:" in sentence and damage.first == found[-1].seconds
    whole = Damage()
    list(read_frames(write_video(tmp_path / "b.mkv", ["red"] * 50, rate=5), EVERY, whole))
    assert whole.sentence() is None


@pytest.mark.parametrize(("seconds", "text"), [
    (0.0, "00:00:00.000"), (59.9996, "00:01:00.000"), (3723.4564, "01:02:03.456"),
    (3599.9994, "00:59:59.999"),
])  # fmt: skip
def test_times_are_written_to_the_nearest_thousandth(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(("frames", "events"), [(2, 1), (3, 1), (5, 3), (8, 3)])
def test_what_lasts_less_than_asked_is_flicker(frames: int, events: int) -> None:
    """With certain answers every 0.1 s, a stay of more than 0.4 s pays for both its changes."""
    truth = np.array([0] * 20 + [1] * frames + [0] * 20)
    shares = np.where(truth[:, None] == np.arange(2)[None], 1.0, 0.0)
    found = find_events(np.arange(len(truth) + 1) / 10, shares, ["a", "b"], 0.4)
    assert len(found) == events
    if events == 3:
        assert (found[1].start, found[1].end) == pytest.approx((2.0, 2.0 + frames / 10))


def test_a_folder_of_videos(tmp_path: Path) -> None:
    write_video(tmp_path / "b.MP4", ["red"] * 3)
    (tmp_path / "sub").mkdir()
    write_video(tmp_path / "sub" / "a.mkv", ["red"] * 3)
    (tmp_path / ".hidden.mp4").touch()
    assert [path.name for path in find_videos(tmp_path)] == ["b.MP4", "a.mkv"]


@pytest.mark.parametrize("n", [1, 2, 3, 10, 25, 26])
def test_every_nth_frame_counts_from_the_first(tmp_path: Path, n: int) -> None:
    film = write_video(tmp_path / "a.mp4", ["red"] * 25, still=True)
    assert numbers(film, Sampling(n, None, False)) == list(range(0, 25, n))


@pytest.fixture(scope="module")
def long_films(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Films of two minutes by their rate; in whole milliseconds, which is what Matroska holds."""
    folder = tmp_path_factory.mktemp("long")
    return {
        rate: write_video(folder / f"{rate}.mkv", ["red"] * (120 * rate), rate=rate, still=True)
        for rate in (7, 25, 30)
    }


@pytest.mark.parametrize(
    ("rate", "step"),
    [
        (25, 0.3), (25, 0.2), (25, 0.5), (7, 1.0), (7, 0.4),
        pytest.param(25, 0.04, marks=pytest.mark.slow),
        pytest.param(30, 0.1, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_the_grid_does_not_drift(long_films: dict[int, Path], rate: int, step: float) -> None:
    times = [round(number * 1000 / rate) for number in range(120 * rate)]
    grid = range(0, times[-1] + 1, round(step * 1000))
    # What is shown at each point of the grid.
    wanted = list(dict.fromkeys(times[bisect.bisect(times, point + 1) - 1] for point in grid))
    found = [frame.seconds for frame in read_frames(long_films[rate], Sampling(None, step, False))]
    assert found == pytest.approx([at / 1000 for at in wanted], abs=1e-6)


def test_a_frame_that_stays_is_taken_once(tmp_path: Path) -> None:
    times = [0.0, 0.5, 3.25, 3.5, 3.75, 4.0, 4.5]
    film = write_video(tmp_path / "a.mkv", ["red"] * 7, times)
    found = list(read_frames(film, Sampling(None, 1.0, False)))
    assert [frame.number for frame in found] == [0, 1, 5]  # shown at 0; at 1, 2 and 3; at 4
    # None lasted the tenth of a second that the header states, so the last is not said to, either.
    until = [frame.until for frame in found]
    assert until == pytest.approx([0.5, 4.0, 4.5 + 0.375], abs=2e-3)


def test_times_count_from_the_first_frame(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mkv", ["red"] * 6, [7.3, 7.4, 7.5, 8.2, 8.3, 8.4])
    found = [(frame.number, frame.seconds) for frame in read_frames(film, EVERY)]
    assert [number for number, _ in found] == [0, 1, 2, 3, 4, 5]
    seconds = [at for _, at in found]
    assert seconds == pytest.approx([0, 0.1, 0.2, 0.9, 1.0, 1.1], abs=1e-6)
    assert numbers(film, Sampling(None, 1.0, False)) == [0, 4]


def test_a_frame_differs_by_more_than_three_grey_levels_from_the_last_one_kept(
    tmp_path: Path,
) -> None:
    film = write_greys(tmp_path / "a.mov", [100, 103, 104, 106, 107, 108, 105, 104])
    # 103 resembles 100, and 106, 107 resemble 104; going down counts as going up.
    assert numbers(film, Sampling(1, None, True)) == [0, 2, 5, 7]
    # Only what is on the grid is compared.
    assert numbers(film, Sampling(3, None, True)) == [0, 3]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00.000"),
        (0.0004, "00:00:00.000"),
        (0.0006, "00:00:00.001"),
        (0.999, "00:00:00.999"),
        (59.9994, "00:00:59.999"),
        (59.9996, "00:01:00.000"),
        (3599.9999, "01:00:00.000"),
        (3723.4, "01:02:03.400"),
        (363_599.05, "100:59:59.050"),
    ],
)
def test_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_damage_in_words() -> None:
    damage = Damage()
    assert damage.sentence() is None
    damage.count("no key frame")
    assert damage.sentence() == (
        "It is damaged from its beginning (no key frame); what can be decoded is used, "
        "1 piece cannot."
    )
    damage.count("something else")
    assert str(damage.sentence()).endswith("2 pieces cannot.")
    damage.first = 61.5
    for _ in range(1232):
        damage.count("something else")
    assert damage.sentence() == (
        "It is damaged after 00:01:01.500 (no key frame); what can be decoded is used, "
        "1,234 pieces cannot."
    )


def test_a_film_that_is_shorter_than_its_header_says_is_told_of(tmp_path: Path) -> None:
    # Its last frame comes at 9.9 s: 12 s may be rounding and a sound that goes on, 13 may not.
    film = write_video(tmp_path / "a.mkv", ["red"] * 100, still=True)
    for says, problem in ((10.0, None), (12.9, None), (13.0, "00:00:13.000")):
        lengthen(film, says)
        damage = Damage()
        assert len(list(read_frames(film, EVERY, damage))) == 100
        sentence = damage.sentence()
        if problem is None:
            assert sentence is None
        else:
            assert sentence is not None and "after 00:00:09.900" in sentence
            assert f"it should last {problem}" in sentence
    # Whoever reads the film tells of it, also where its frames lie there already.
    assert watch(film, ColorPredictor(), Sampling(10, None, False), 0.5).problem == sentence
    for _ in range(2):
        frames, told = extract(film, Sampling(10, None, False), tmp_path / "frames")
        assert len(frames) == 10 and told == sentence


def test_damage_is_told_with_the_time_before_the_first_of_it(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mkv", ["red"] * 100, still=True)
    with av.open(str(whole)) as film, av.open(str(tmp_path / "b.mkv"), "w") as spoiled:
        stream = spoiled.add_stream_from_template(film.streams.video[0])
        for number, packet in enumerate(film.demux(video=0)):
            if packet.dts is None:
                continue
            piece = av.Packet(b"U" * 50) if number in (20, 80) else packet
            piece.pts, piece.dts, piece.time_base = packet.pts, packet.dts, packet.time_base
            piece.stream = stream
            spoiled.mux(piece)
    damage = Damage()
    found = [frame.number for frame in read_frames(tmp_path / "b.mkv", EVERY, damage)]
    assert found == list(range(len(found))) and 90 <= len(found) <= 98
    assert damage.packets >= 2 and damage.first == pytest.approx(1.9, abs=1e-6)


def test_a_film_without_one_frame(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            packet = av.Packet(b"U" * 50)
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = number
            film.mux(packet)
    with pytest.raises(SourceError, match=r"Not one frame of .*a\.mkv can be decoded"):
        list(read_frames(tmp_path / "a.mkv", EVERY))


def test_frames_may_have_as_many_pixels_as_is_allowed(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mp4", ["red"] * 2, still=True)
    assert len(list(read_frames(film, EVERY, max_pixels=64 * 48))) == 2
    with pytest.raises(SourceError, match=r"3,072 pixels.*3,071"):
        list(read_frames(film, EVERY, max_pixels=64 * 48 - 1))


def test_how_far_it_is_is_told_in_seconds_of_the_film(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mkv", ["red"] * 30, still=True)
    told: list[tuple[int, int]] = []
    for says, wanted in ((3.5, [(0, 3), (1, 3), (2, 3)]), (1.0, [(0, 1), (1, 1), (1, 1)])):
        lengthen(film, says)
        told.clear()
        list(read_frames(film, Sampling(10, None, False), progress=lambda *at: told.append(at)))
        assert told == wanted


def test_a_replaced_film_gets_new_frames_and_the_old_ones_go(tmp_path: Path) -> None:
    root, few = tmp_path / "frames", Sampling(10, None, False)
    film = write_video(tmp_path / "a.mkv", ["red"] * 20)
    state = film.stat()
    first, _ = extract(film, few, root)
    assert has_frames(film, few, root)
    # Another film of another size, with the time of the first.
    write_video(film, ["blue"] * 30)
    assert film.stat().st_size != state.st_size
    os.utime(film, ns=(state.st_mtime_ns, state.st_mtime_ns))
    assert not has_frames(film, few, root)
    second, _ = extract(film, few, root)
    assert len(second) == 3 and not {f.path for f in first} & {f.path for f in second}
    for frame in second:
        assert mean_color(frame.path) == pytest.approx(COLORS["blue"], abs=12)
    # The same size at another time, were it a millisecond later.
    os.utime(film, ns=(state.st_mtime_ns, state.st_mtime_ns + 1_000_000))
    assert not has_frames(film, few, root)
    third, _ = extract(film, few, root)
    assert third[0].path.parent not in (first[0].path.parent, second[0].path.parent)
    (root / "notes.txt").touch()
    extract_all([(film, few)], root, MAX_PIXELS, SILENT)
    left = sorted(path.name for path in root.iterdir())
    assert left == sorted(["notes.txt", third[0].path.parent.name])
    assert all(frame.path.is_file() for frame in third)


def test_films_of_one_name_keep_their_frames_apart(tmp_path: Path) -> None:
    root, few = tmp_path / "frames", Sampling(10, None, False)
    one = write_video(tmp_path / "a.mkv", ["red"] * 11)
    (tmp_path / "sub").mkdir()
    other = tmp_path / "sub" / "a.mkv"
    other.write_bytes(one.read_bytes())
    os.utime(other, ns=(one.stat().st_mtime_ns, one.stat().st_mtime_ns))
    samplings = [few, Sampling(None, 1.0, False), Sampling(10, None, True)]
    found = [extract(film, how, root)[0] for film in (one, other) for how in samplings]
    assert len({frames[0].path.parent for frames in found}) == 6
    assert [frame.video for frames in found for frame in frames].count(other) == 2 + 2 + 1
    extract_all([(one, few), (other, samplings[1])], root, MAX_PIXELS, SILENT)
    assert len(list(root.iterdir())) == 2


def test_a_frame_that_is_missing_is_written_again(tmp_path: Path) -> None:
    root, few = tmp_path / "frames", Sampling(10, None, False)
    film = write_video(tmp_path / "a.mkv", ["red"] * 15 + ["blue"] * 15)
    first, _ = extract(film, few, root)
    hashes = [sha256(frame.path) for frame in first]
    assert [(frame.number, frame.seconds) for frame in first] == [(0, 0.0), (10, 1.0), (20, 2.0)]
    first[1].path.unlink()
    assert not has_frames(film, few, root)
    again, _ = extract(film, few, root)
    assert again == first and [sha256(frame.path) for frame in again] == hashes
    # So is all of it where the list of the frames is spoiled.
    for spoiled in ("", "[]", "{}", '{"frames": [{}]}', '{"frames": 3}'):
        (first[0].path.parent / "frames.json").write_text(spoiled)
        assert not has_frames(film, few, root)
        assert extract(film, few, root)[0] == first
    # Nothing is left of the writing, and the pictures are what the film shows.
    names = sorted(path.name for path in first[0].path.parent.iterdir())
    assert names == [*(frame.path.name for frame in first), "frames.json"]
    for frame, color in zip(first, ("red", "red", "blue"), strict=True):
        assert mean_color(frame.path) == pytest.approx(COLORS[color], abs=12)


@pytest.mark.parametrize(
    ("stem", "plain"),
    [
        ("Küche #1 (a)", "Küche _1 _a_"),
        (" cam.2-b_c ", "cam.2-b_c"),
        ("x" * 70, "x" * 60),
        ("…", "_"),
        (" . ", "94efe43a"),  # of the name's hash, since nothing of it is left
    ],
)
def test_frames_are_named_so_that_every_file_system_takes_it(
    tmp_path: Path, stem: str, plain: str
) -> None:
    film = write_video(tmp_path / "a.mkv", ["red"] * 2, still=True)
    named = film.rename(film.with_name(f"{stem}.mkv"))
    frames, _ = extract(named, EVERY, tmp_path / "frames")
    assert [frame.path.name for frame in frames] == [
        f"{plain}_00-00-00.000.jpg",
        f"{plain}_00-00-00.100.jpg",
    ]
    assert frames[0].path.parent.name.rpartition("-")[0] == plain


def test_hidden_films_are_passed_over(tmp_path: Path) -> None:
    for name in ("b.mov", ".trash/c.mp4", "d/.e.mp4", "d/f.txt", "d/g.WEBM", "h.mp4/i.txt"):
        (tmp_path / "films" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "films" / name).touch()
    found = find_videos(tmp_path / "films")
    assert [path.name for path in found] == ["b.mov", "g.WEBM"]
    assert find_videos(tmp_path / "films" / "d" / "f.txt") == [tmp_path / "films" / "d" / "f.txt"]
    with pytest.raises(SourceError, match="does not exist"):
        find_videos(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="There is no video in"):
        find_videos(tmp_path / "films" / "h.mp4")
    # A hidden folder that is named itself is meant.
    assert [path.name for path in find_videos(tmp_path / "films" / ".trash")] == ["c.mp4"]


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
    truth = np.array([0] * 10 + [1] * 14 + [0] * 16)
    shares = np.where(truth[:, None] == np.arange(2)[None], 0.9, 0.1)
    shares[[4, 30]] = shares[[4, 30]][:, ::-1]  # two frames are wrong
    edges = np.arange(41) / 10
    events = find_events(edges, shares, ["a", "b"], 0.4)
    assert [(one.class_name, one.start, one.end) for one in events] == [
        ("a", 0.0, pytest.approx(1.0)),
        ("b", pytest.approx(1.0), pytest.approx(2.4)),
        ("a", pytest.approx(2.4), pytest.approx(4.0)),
    ]
    assert events[1].confidence == pytest.approx(0.9)
    assert len(find_events(edges, shares, ["a", "b"], 0.0)) == 7


@given(
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=60), least=st.sampled_from([0, 0.2, 5])
)
def test_events_cover_the_video_without_gaps(shares: list[float], least: float) -> None:
    edges = np.arange(len(shares) + 1) * 0.1
    table = np.stack([shares, 1 - np.array(shares)], axis=1)
    events = find_events(edges, table, ["a", "b"], least)
    assert events[0].start == 0 and events[-1].end == edges[-1]
    for one, other in itertools.pairwise(events):
        assert one.end == other.start and one.class_name != other.class_name


def test_watching_a_film(tmp_path: Path) -> None:
    film = write_video(tmp_path / "a.mp4", ["red"] * 20 + ["blue"] * 20 + ["red"] * 20)
    watched = watch(film, ColorPredictor(), Sampling(None, 0.1, False), 0.3)
    assert [one.class_name for one in watched.events] == ["red", "blue", "red"]
    assert [one.start for one in watched.events] == pytest.approx([0, 2, 4], abs=0.02)
    assert watched.frames == 60 and watched.problem is None and set(NAMES) > {"red", "blue"}


@pytest.mark.parametrize(("rate", "step"), [(30, 1 / 30), (24, 1 / 24), (30, 1 / 15)])
def test_times_that_a_film_rounds_lose_no_frame(tmp_path: Path, rate: int, step: float) -> None:
    film = write_video(tmp_path / "a.mkv", ["red"] * (4 * rate), rate=rate)  # whole milliseconds
    found = [frame.number for frame in read_frames(film, Sampling(None, step, False))]
    assert found == list(range(0, 4 * rate, round(rate * step)))
