"""Films that are whole and yet not plain: joined ones, slow ones, several tracks, odd pixels."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from av.stream import Disposition
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.cli import main
from pipeline.errors import SourceError
from pipeline.images.frames import extract
from pipeline.images.kinds import VIDEO_SUFFIXES
from pipeline.images.video import Damage, Frame, find_videos, read_frames
from pipeline.pixels import image_suffixes
from pipeline.timeline import watch
from pipeline.values import Sampling
from tests.fakes import COLORS, ColorPredictor
from tests.films import write_video

EVERY = Sampling(1, None, False)
GRID = Sampling(None, 0.2, False)


def whole(film: Path, sampling: Sampling = EVERY) -> list[Frame]:
    """The frames of a film about which nothing is wrong."""
    damage = Damage()
    frames = list(read_frames(film, sampling, damage))
    assert damage.sentence() is None
    return frames


def color(image: Image.Image) -> str:
    """The name of the color that the lower half of a frame, where no mark is, comes nearest to."""
    seen = np.asarray(image)[image.height // 2 :].mean(axis=(0, 1))
    return min(COLORS, key=lambda name: float(np.abs(seen - COLORS[name]).sum()))


def scenes(film: Path, sampling: Sampling = GRID) -> list[tuple[str, float, float]]:
    events = watch(film, ColorPredictor(), sampling, 0.6).events
    return [(one.class_name, round(one.start, 2), round(one.end, 2)) for one in events]


def join(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def clip2yolo(*words: str, **config: object) -> Result:
    known = {
        "teacher": "pocket", "workspace": "run", "ontology": {"a red apple": "red", "lime": "green"}
    }  # fmt: skip
    Path("run.yaml").write_text(yaml.safe_dump({**known, **config}))
    return CliRunner().invoke(main, [*words, "--config", "run.yaml"])


# Where timestamps start anew or jump.


@pytest.mark.parametrize(("suffix", "starts"), [
    (".ts", (0, 0)), (".ts", (5, 0)), (".ts", (7, 3)), (".ts", (0, 3600)), (".ts", (0, 90_000)),
    (".ts", (4000, 0)), (".mpg", (0, 0)), (".mpg", (4000, 0)), (".vob", (0, 3600)),
])  # fmt: skip
def test_time_goes_on_where_recordings_were_joined(
    tmp_path: Path, suffix: str, starts: Sequence[float]
) -> None:
    parts = [
        write_video(
            tmp_path / f"{name}{suffix}",
            [name] * 50,
            [start + number / 25 for number in range(50)],
            rate=25,
            still=True,
            codec="mpeg2video",
        )
        for name, start in zip(("red", "blue"), starts, strict=True)
    ]
    film = join(tmp_path / f"both{suffix}", *parts)
    frames = whole(film)
    assert [color(frame.image) for frame in frames] == ["red"] * 50 + ["blue"] * 50
    seconds = [frame.seconds for frame in frames]
    # An MPEG program does not state every frame's time.
    near = 2e-3 if suffix == ".ts" else 0.05
    assert seconds == pytest.approx([number / 25 for number in range(100)], abs=near)
    assert len(whole(film, GRID)) == pytest.approx(20, abs=near * 20)
    red, blue = watch(film, ColorPredictor(), EVERY, 0.6).events
    found = [red.start, red.end, blue.start, blue.end]
    assert found == pytest.approx([0, 2, 2, 4], abs=max(near, 1e-3))


@pytest.mark.parametrize(("suffix", "each"), [
    (".ts", 10.0), (".ts", 15.0), (".ts", 40.0), (".mkv", 10.0), (".mkv", 7200.0), (".mp4", 40.0),
])  # fmt: skip
def test_a_show_of_slides_has_no_jumps(tmp_path: Path, suffix: str, each: float) -> None:
    times = [0.0, each, 2 * each, 3 * each]
    film = write_video(tmp_path / f"a{suffix}", ["red", "blue", "green", "red"], times, still=True)
    assert [frame.seconds for frame in whole(film)] == pytest.approx(times)
    assert [frame.number for frame in whole(film, GRID)] == [0, 1, 2, 3]
    events = watch(film, ColorPredictor(), GRID, 0.0).events
    assert [one.class_name for one in events] == ["red", "blue", "green", "red"]
    assert [one.start for one in events] == pytest.approx(times)
    # The last lasts as long as the others, or for as long as it says.
    lasts = events[-1].end - events[-1].start
    assert lasts == pytest.approx(0.1 if suffix == ".mp4" else each)


def test_a_pause_that_the_container_vouches_for_is_none_of_our_business(tmp_path: Path) -> None:
    # A camera that records when something moves: two hours of nothing, in a clock that cannot jump.
    times = [0.0, 0.1, 0.2, 0.3, 7200.0, 7200.1]
    film = write_video(tmp_path / "a.mkv", ["red"] * 4 + ["blue"] * 2, times)
    assert [frame.seconds for frame in whole(film)] == pytest.approx(times)


def test_two_recordings_of_a_camera(shared: Path) -> None:
    film = shared / "data" / "odd_files" / "two_recordings_concatenated.ts"
    assert [frame.number for frame in whole(film)] == list(range(100))
    assert scenes(film) == [("red", 0.0, 5.0), ("blue", 5.0, 10.0)]


# Names.


def test_frames_of_one_time_have_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shades = ["red", "green", "blue", "yellow"]
    times = [0.0, 0.1, 0.15, 0.2]
    write_video(tmp_path / "a.mkv", shades, times, still=True)
    spoil_times(tmp_path / "a.mkv")
    frames, problem = extract(tmp_path / "a.mkv", EVERY, tmp_path / "frames")
    assert problem is None
    assert [frame.path.name for frame in frames] == [
        "a_00-00-00.000.jpg", "a_00-00-00.100.jpg", "a_00-00-00.100_2.jpg", "a_00-00-00.200.jpg"
    ]  # fmt: skip
    for frame, shade in zip(frames, shades, strict=True):
        with Image.open(frame.path) as image:
            assert color(image) == shade
    assert extract(tmp_path / "a.mkv", EVERY, tmp_path / "frames")[0] == frames
    # What a version before this one has left, which read films otherwise: one name for both.
    listing = frames[0].path.parent / "frames.json"
    known = json.loads(listing.read_text().replace(".100_2.jpg", ".100.jpg"))
    del known["reading"]
    listing.write_text(json.dumps(known))
    Image.new("RGB", (4, 4)).save(frames[0].path)
    assert extract(tmp_path / "a.mkv", EVERY, tmp_path / "frames")[0] == frames
    with Image.open(frames[0].path) as image:
        assert color(image) == "red"
    done = clip2yolo("label", "--json", source={"path": "a.mkv", "every": 1})
    assert done.exit_code == 0 and json.loads(done.stdout)["label"]["found"] == 4


def spoil_times(film: Path) -> None:
    """Write a film anew in which frame 2 has the time of frame 1."""
    with av.open(str(film)) as given, av.open(str(film.with_suffix(".tmp")), "w", "matroska") as to:
        stream = to.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.dts is not None:
                packet.pts = packet.dts = 100 if number == 2 else packet.pts
                packet.stream = stream
                to.mux(packet)
    film.with_suffix(".tmp").replace(film)


def test_six_frames_of_two_times(shared: Path, tmp_path: Path) -> None:
    film = shared / "data" / "odd_files" / "same_timestamps.mkv"
    frames, problem = extract(film, EVERY, tmp_path)
    assert problem is None and len({frame.path for frame in frames}) == 6
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4, 5]


# Frames that are shown for different times.


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".ts"])
def test_scenes_of_a_variable_frame_rate(tmp_path: Path, suffix: str) -> None:
    # A still for three seconds, half a second of motion, and a still again.
    times = [0.0, 3.0, 3.1, 3.2, 3.3, 3.4, 3.5, 8.1, 8.2]
    shown = ["red", *["green"] * 5, "blue", "green", "green"]
    film = write_video(tmp_path / f"a{suffix}", shown, times, still=True)
    for step in (0.1, 0.5):  # of the wider grid, 8.5 comes too late: the film has ended
        events = watch(film, ColorPredictor(), Sampling(None, step, False), 0.0).events
        fine = step == 0.1
        assert [one.class_name for one in events] == ["red", "green", "blue", "green"][: 3 + fine]
        starts = [0, 3.0, 3.5, 8.1][: 3 + fine]
        assert [one.start for one in events] == pytest.approx(starts, abs=2e-3)
        assert events[-1].end == pytest.approx(8.3, abs=2e-3)
    # Half a second of it is flicker if so it is wished, however many frames it was.
    events = watch(film, ColorPredictor(), Sampling(None, 0.1, False), 1.5).events
    assert [one.class_name for one in events] == ["red", "blue"]


def test_slides(shared: Path, tmp_path: Path) -> None:
    film = shared / "data" / "odd_files" / "slides_vfr.mkv"
    for step in (0.2, 3.0, 7.0):
        found = watch(film, ColorPredictor(), Sampling(None, step, False), 0.6)
        assert found.frames == 3 and found.seconds == pytest.approx(30.0)
        events = [(one.class_name, one.start, one.end) for one in found.events]
        assert events == [("red", 0, 10), ("blue", 10, 20), ("green", 20, 30)]
    frames, _ = extract(film, GRID, tmp_path)
    assert [frame.seconds for frame in frames] == [0, 10, 20]


# Tracks, shapes and names.


def write_tracks(
    path: Path, tracks: Sequence[tuple[str, int, Disposition, float]], sound: float = 0
) -> Path:
    """Write a film of several picture tracks, each with a color, a width, its flags and its
    seconds, and so many seconds of sound."""
    with av.open(str(path), "w") as film:
        streams = []
        for _, width, flags, _ in tracks:
            cover = flags == Disposition.attached_pic
            stream = film.add_stream("mjpeg" if cover else "mpeg4", rate=10)
            stream.width, stream.height = width, width * 3 // 4
            stream.pix_fmt = "yuvj420p" if cover else "yuv420p"
            stream.disposition = flags
            streams.append(stream)
        voice = film.add_stream("aac", rate=8000) if sound else None
        for stream, (name, width, _, seconds) in zip(streams, tracks, strict=True):
            pixels = np.full((width * 3 // 4, width, 3), COLORS[name], np.uint8)
            for number in range(round(seconds * 10)):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                film.mux(stream.encode(frame))
            film.mux(stream.encode())
        for number in range(round(sound * 10) if voice else 0):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.float32), "fltp", "mono")
            silence.rate, silence.pts, silence.time_base = 8000, number * 800, Fraction(1, 8000)
            film.mux(voice.encode(silence))
        if voice:
            film.mux(voice.encode())
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_a_sound_that_outlasts_the_pictures_is_no_damage(tmp_path: Path, suffix: str) -> None:
    track = ("red", 64, Disposition.default, 2.0)
    film = write_tracks(tmp_path / f"a{suffix}", [track], sound=12.0)
    assert len(whole(film)) == 20
    ((name, start, end),) = scenes(film)
    # An AVI knows no other times than its rate's; its writer leaves two of them out.
    assert (name, start) == ("red", 0.0) and end == (2.2 if suffix == ".avi" else 2.0)
    if suffix == ".mkv":  # but a file that is cut off is, whatever it holds
        film.write_bytes(film.read_bytes()[: film.stat().st_size * 2 // 3])
        damage = Damage()
        assert len(list(read_frames(film, EVERY, damage))) > 0
        assert "it should last 00:00:1" in str(damage.sentence())


def test_the_track_that_players_show(tmp_path: Path) -> None:
    plain, default, cover = Disposition(0), Disposition.default, Disposition.attached_pic
    for number, (flags, shown) in enumerate((
        ([plain, default], "blue"), ([default, plain], "red"), ([plain, plain], "blue"),
    )):  # fmt: skip
        film = write_tracks(
            tmp_path / f"{number}.mkv", [("red", 64, flags[0], 1.0), ("blue", 128, flags[1], 1.0)]
        )
        assert color(whole(film)[0].image) == shown
    # A cover is large, and no film.
    film = write_tracks(tmp_path / "a.mp4", [("red", 256, cover, 0.1), ("blue", 64, plain, 1.0)])
    assert {color(frame.image) for frame in whole(film)} == {"blue"}
    song = write_tracks(tmp_path / "b.mp4", [("red", 256, cover, 0.1)], sound=1.0)
    with pytest.raises(SourceError, match="no picture track"):
        list(read_frames(song, EVERY))


@pytest.mark.parametrize(("aspect", "size"), [
    (Fraction(2), (128, 48)), (Fraction(1, 2), (64, 96)), (Fraction(16, 11), (93, 48)),
    (Fraction(1), (64, 48)),
])  # fmt: skip
def test_a_frame_has_the_shape_that_it_is_shown_in(
    tmp_path: Path, aspect: Fraction, size: tuple[int, int]
) -> None:
    film = write_video(tmp_path / "a.mp4", ["red"] * 3, still=True, aspect=aspect)
    assert {frame.image.size for frame in whole(film)} == {size}
    pixels = size[0] * size[1]
    assert len(list(read_frames(film, EVERY, max_pixels=pixels))) == 3
    with pytest.raises(SourceError, match=f"frames of {pixels:,} pixels"):
        list(read_frames(film, EVERY, max_pixels=pixels - 1))
    # Proportions belong to the pixels as they are stored, before they are turned.
    set_matrix(film, 0, 1, -1, 0)
    assert next(read_frames(film, EVERY)).image.size == size[::-1]


def set_matrix(film: Path, a: int, b: int, c: int, d: int) -> None:
    """Let an MP4 show a point (x, y) at (ax + cy, bx + dy)."""
    data = bytearray(film.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 4 + 4 + 4 + 4 + 4 + 8 + 2 + 2 + 2 + 2
    one = 1 << 16
    struct.pack_into(">9i", data, at, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    film.write_bytes(data)


@pytest.mark.parametrize(("matrix", "mark"), [
    # Where the mark, which is stored in the top left, is shown.
    ((1, 0, 0, 1), "top left"), ((-1, 0, 0, 1), "top right"), ((1, 0, 0, -1), "bottom left"),
    ((-1, 0, 0, -1), "bottom right"), ((0, 1, -1, 0), "top right, lying"),
    ((0, -1, 1, 0), "bottom left, lying"), ((0, 1, 1, 0), "top left, lying"),
    ((0, -1, -1, 0), "bottom right, lying"),
])  # fmt: skip
def test_frames_are_turned_and_mirrored_as_the_film_says(
    tmp_path: Path, matrix: tuple[int, int, int, int], mark: str
) -> None:
    film = write_video(tmp_path / "a.mp4", ["blue"] * 2, still=True)
    set_matrix(film, *matrix)
    image = whole(film)[0].image
    lies = "lying" in mark
    assert image.size == ((48, 64) if lies else (64, 48))
    pixels = np.asarray(image)
    corners = {
        f"{row} {side}": pixels[y, x].mean() > 200
        for row, y in (("top", 4), ("bottom", -5))
        for side, x in (("left", 4), ("right", -5))
    }
    assert [name for name, seen in corners.items() if seen] == [mark.removesuffix(", lying")]
    # The mark is 16 x 12: longer along the side that was stored as the width.
    tall = (pixels.min(axis=2) > 200).any(axis=1).sum()
    assert (tall > 14) == lies


@pytest.mark.parametrize(
    "name",
    [
        *("2024-05-01T12:30:00.mp4", "-x.mp4", "concat:a|b.mp4", "http:x.mp4", "file:a.mp4"),
        *("pipe:0.mp4", "cam%03d.mp4", "a b?c#d.mp4"),
    ],
)
def test_a_name_is_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4", ["red"] * 5, still=True).rename(tmp_path / name)
    assert len(whole(Path(name))) == len(whole(tmp_path / name)) == 5
    assert len(extract(Path(name), EVERY, tmp_path / "frames")[0]) == 5


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile good.ts\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\ngood.ts\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
        "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
)
@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.ts"])
def test_a_list_of_other_files_is_no_film(tmp_path: Path, text: str, name: str) -> None:
    write_video(tmp_path / "good.ts", ["red"] * 5)
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match="cannot be opened as a video"):
        list(read_frames(tmp_path / name, EVERY))


@pytest.mark.parametrize("suffix", [".mts", ".m2ts", ".flv", ".vob", ".asf", ".MXF", ".ogv"])
def test_a_film_by_its_suffix(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    assert find_videos(tmp_path) == [tmp_path / f"a{suffix}"]
    assert not VIDEO_SUFFIXES & image_suffixes()


def test_what_the_odd_films_show(shared: Path) -> None:
    folder = shared / "data" / "odd_files"
    assert len(whole(folder / "audio_longer_than_picture.mp4")) == 20
    assert scenes(folder / "two_picture_tracks.mkv") == [("blue", 0.0, 3.0)]
    assert whole(folder / "non_square_pixels.mp4")[0].image.size == (192, 128)
    assert find_videos(folder / "clip.mts") and folder / "clip.mts" in find_videos(folder)


# Bytes that are anything.


def test_frames_that_grow_too_large_are_passed_over(tmp_path: Path) -> None:
    small = write_tracks(tmp_path / "a.ts", [("red", 64, Disposition.default, 1.0)])
    for width in (128, 1280):
        large = write_tracks(tmp_path / "b.ts", [("blue", width, Disposition.default, 1.0)])
        film, damage = join(tmp_path / "both.ts", small, large, small), Damage()
        found = list(read_frames(film, EVERY, damage, max_pixels=64 * 48))
        assert {frame.image.size for frame in found} == {(64, 48)} and len(found) > 12
        assert damage.packets > 0
        sizes = {frame.image.size for frame in read_frames(film, EVERY)}
        assert sizes == {(64, 48), (width, width * 3 // 4)}


@settings(max_examples=25)
@given(data=st.data(), suffix=st.sampled_from([".mp4", ".mkv", ".ts", ".avi"]))
def test_whatever_a_film_holds_it_is_read_or_refused(
    data: st.DataObject, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    film = write_video(tmp_path_factory.mktemp("film") / f"a{suffix}", ["red", "blue"] * 4)
    spoiled = bytearray(film.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(spoiled) - 1), max_size=12)):
        spoiled[at] ^= data.draw(st.integers(1, 255))
    film.write_bytes(spoiled[: data.draw(st.integers(0, len(spoiled)))])
    limit = 1_000_000
    try:
        frames = list(read_frames(film, EVERY, max_pixels=limit))
    except SourceError as error:
        assert str(film) in str(error)
        return
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(seconds) and frames[-1].until >= seconds[-1] >= seconds[0] >= 0
    assert all(frame.image.width * frame.image.height <= limit for frame in frames)
