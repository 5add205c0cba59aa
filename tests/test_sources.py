"""Which files are images, which are the same, which cannot be used, and what a person labeled."""

from __future__ import annotations

import os
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.config import SourceConfig
from pipeline.errors import SourceError
from pipeline.records import IMAGES
from pipeline.scan import describe, scan, with_failures
from pipeline.sources import find_images, sort_sources
from pipeline.truth import read_truth
from tests.fakes import photos, picture, sha256


def names(paths: list[str], root: Path) -> list[str]:
    return [str(Path(path).relative_to(root)) for path in paths]


def age(paths: list[Path]) -> None:
    """Make files an hour old."""
    hour_ago = time.time_ns() - 3600 * 10**9
    for path in paths:
        os.utime(path, ns=(hour_ago, hour_ago))


def test_folders_are_searched_to_the_bottom(tmp_path: Path) -> None:
    for name in ("a.JPG", "b/a.jpg", "b/ü/名前.png", "c.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture("red").save(tmp_path / name)
    for name in (".hidden.png", ".git/x.png", "notes.txt", "b/readme"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert names(find_images([tmp_path]), tmp_path) == [
        "a.JPG",
        "b/a.jpg",
        "b/ü/名前.png",
        "c.webp",
    ]


def test_symlink_loops_end(tmp_path: Path) -> None:
    photos(tmp_path / "a", {"red": 2})
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere.png")
    assert len(find_images([tmp_path])) == 2


def test_globs_single_files_and_lists_join_without_doubles(tmp_path: Path) -> None:
    paths = photos(tmp_path, {"red": 3, "blue": 2})
    found = find_images([tmp_path / "red_*.png", paths[0], tmp_path / "**" / "blue_001.png"])
    assert found == sorted(map(str, [*paths[:3], paths[4]]))


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "scan[1].png"
    picture("red").save(path)
    assert find_images([path]) == [str(path)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_manifests_are_relative_to_themselves(tmp_path: Path, suffix: str) -> None:
    photos(tmp_path / "photos", {"red": 2})
    table = pl.DataFrame({"path": ["photos/red_001.png", "photos/gone.png"], "note": ["", "x"]})
    manifest = tmp_path / f"list{suffix}"
    (table.write_csv if suffix == ".csv" else table.write_parquet)(manifest)
    found = find_images([manifest])
    assert names(found, tmp_path) == ["photos/gone.png", "photos/red_001.png"]
    images = scan(found)
    assert images["status"].to_list() == ["unreadable", "ok"]
    assert "no such file" in images["reason"][0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"file\na.png\n", "no column `path`; it has: file"),
        (b"path\n", "lists nothing"),
        (b"path,x\n ,1\n", "row 1 has an empty `path`"),
        (b"\xff\xfe\x00", "cannot be read as a table|no column"),
        (b"", "cannot be read as a table"),
    ],
)
def test_bad_manifests_say_what_is_wrong(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / "list.csv").write_bytes(text)
    with pytest.raises(SourceError, match=reason):
        find_images([tmp_path / "list.csv"])


def test_sources_that_hold_nothing_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "clip.mp4").touch()
    for source, reason in {
        ".": r"no image in .*2 other files \(", "none": "does not exist",
        "*.png": "matches no image", "a.txt": "neither an image",
    }.items():  # fmt: skip
        with pytest.raises(SourceError, match=reason):
            find_images([tmp_path / source])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no video"):
        sort_sources([SourceConfig(path=tmp_path / "empty", fps=2.0)])


def test_same_bytes_are_one_picture(tmp_path: Path) -> None:
    first, *_ = photos(tmp_path / "a", {"red": 2})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / first.name).write_bytes(first.read_bytes())
    images = scan(find_images([tmp_path]))
    assert images["status"].to_list() == ["ok", "ok", "duplicate"]
    assert images["id"][0] == images["id"][2] == sha256(first)
    assert str(first) in images["reason"][2]


def test_bad_files_are_recorded_with_the_reason(tmp_path: Path) -> None:
    photos(tmp_path, {"red": 1})
    (tmp_path / "a_empty.png").touch()
    (tmp_path / "b_text.png").write_text("no")
    Image.new("1", (300, 300)).save(tmp_path / "c_big.png")
    images = scan(find_images([tmp_path]), max_pixels=10_000)
    assert images.schema == pl.Schema(IMAGES)
    assert images["status"].to_list() == ["unreadable"] * 3 + ["ok"]
    for reason, word in zip(images["reason"], ["empty", "no image", "max_pixels"], strict=False):
        assert word in reason
    line = describe(images)
    assert "1 usable" in line and "3 unreadable (a_empty.png: The file is empty." in line
    assert "\n" not in line


def test_unchanged_files_are_not_read_again(tmp_path: Path) -> None:
    path, other = photos(tmp_path, {"red": 2})
    age([path, other])
    before = scan([path, other])
    state = path.stat()
    # Other bytes of the same size under the same time: only reading them would tell.
    path.write_bytes(bytes(state.st_size))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert scan([path, other], before)["id"].to_list() == before["id"].to_list()
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    assert scan([path, other], before)["status"].to_list() == ["unreadable", "ok"]


def test_a_file_written_while_it_was_hashed_is_hashed_again(tmp_path: Path) -> None:
    (path,) = photos(tmp_path, {"red": 1})
    state = path.stat()
    before = scan([path])
    data = bytearray(path.read_bytes())
    data[-30] ^= 255
    path.write_bytes(data)  # same size, within the same tick of the clock
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert scan([path], before)["id"].to_list() == [sha256(path)]


def test_failures_are_remembered_and_raised_limits_noticed(tmp_path: Path) -> None:
    paths = photos(tmp_path, {"red": 2})
    age(paths)
    images = scan(paths, max_pixels=100)
    assert images["status"].to_list() == ["unreadable"] * 2
    images = scan(paths, images)
    assert images["status"].to_list() == ["ok"] * 2
    images = with_failures(images, {images["id"][0]: "It is damaged (cut off)."})
    assert images["status"].to_list() == ["unreadable", "ok"]
    again = scan(paths, images)
    assert again["reason"].to_list() == ["It is damaged (cut off).", None]


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    scan(photos(tmp_path, {"red": 5}), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (5, 5)


printable = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='/\\:*?"<>|'),
    min_size=1,
    max_size=30,
).filter(lambda text: not text.startswith(".") and len(text.encode()) < 200)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.sets(printable, min_size=1, max_size=4))
def test_names_in_any_script_come_through(
    tmp_path_factory: pytest.TempPathFactory, stems: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("names")
    for number, stem in enumerate(sorted(stems)):
        picture("red", number).save(folder / f"{stem}.png")
    images = scan(find_images([folder]))
    assert {Path(path).stem for path in images["path"]} == stems
    images.write_parquet(folder / "images.parquet")
    assert pl.read_parquet(folder / "images.parquet")["path"].to_list() == images["path"].to_list()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_are_no_text_are_reported(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    odd.write_bytes(photos(tmp_path / "a", {"red": 1})[0].read_bytes())
    images = scan(find_images([tmp_path]))
    assert sorted(images["status"]) == ["ok", "unreadable"]
    row = images.filter(pl.col("status") == "unreadable")
    assert "UTF-8" in row["reason"][0] and "caf\\xe9" in row["path"][0]


def test_truth_from_folders(tmp_path: Path) -> None:
    photos(tmp_path / "red" / "day", {"red": 2})
    photos(tmp_path / "blue", {"blue": 1})
    truth, problems = read_truth(tmp_path)
    assert sorted(truth["class"]) == ["blue", "red", "red"] and problems == []


def test_truth_from_a_table_beside_or_among_the_sources(tmp_path: Path) -> None:
    photos(tmp_path / "pool", {"red": 1, "blue": 1})
    (tmp_path / "truth.csv").write_text("path,class\npool/red_000.png,red\nblue_000.png,blue\n")
    truth, problems = read_truth(tmp_path / "truth.csv", beside=[tmp_path / "pool"])
    assert dict(truth.select("class", "path").iter_rows()) == {
        "red": str(tmp_path / "pool" / "red_000.png"),
        "blue": str(tmp_path / "pool" / "blue_000.png"),
    }
    assert problems == []


def test_truth_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    photos(tmp_path / "a", {"red": 1})
    photos(tmp_path / "b", {"red": 1})
    with pytest.raises(SourceError, match="same picture, labeled 'a' and 'b'"):
        read_truth(tmp_path)


def test_truth_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        read_truth(tmp_path / "none")
    with pytest.raises(SourceError, match="no image in the class folders"):
        read_truth(tmp_path)
    (tmp_path / "truth.csv").write_text("path,class\ngone.png,red\n")
    with pytest.raises(SourceError, match="None of the 1 images"):
        read_truth(tmp_path / "truth.csv")
    (tmp_path / "truth.csv").write_text("path,label\ngone.png,red\n")
    with pytest.raises(SourceError, match="no column `class`"):
        read_truth(tmp_path / "truth.csv")
    photos(tmp_path, {"red": 1})
    with pytest.raises(SourceError, match="outside every class folder"):
        read_truth(tmp_path)


def test_bad_files_in_the_truth_are_named_not_fatal(tmp_path: Path) -> None:
    photos(tmp_path / "red", {"red": 1})
    (tmp_path / "red" / "empty.png").touch()
    truth, problems = read_truth(tmp_path)
    assert len(truth) == 1 and len(problems) == 1 and "empty.png" in problems[0]
