"""Which files are images, which are the same, which cannot be used, and what a person labeled."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.config import SourceConfig
from pipeline.errors import ConfigError, SourceError
from pipeline.images.scan import describe, scan, with_damaged, with_failures
from pipeline.images.sources import find_images, find_sources
from pipeline.images.truth import read_truth
from pipeline.records import IMAGES
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


def test_a_folder_that_is_linked_twice_counts_once_by_its_first_name(tmp_path: Path) -> None:
    photos(tmp_path / "elsewhere", {"red": 2})
    (tmp_path / "source").mkdir()
    for name in ("b", "a", ".hidden"):
        (tmp_path / "source" / name).symlink_to(tmp_path / "elsewhere")
    found = names(find_images([tmp_path / "source"]), tmp_path)
    assert found == ["source/a/red_000.png", "source/a/red_001.png"]


def test_what_is_an_image_by_its_name(tmp_path: Path) -> None:
    for name in ("a.JPEG", "b.Tif", "c.jpg.txt", "d", ".e.png", "f.pdf", "g.PNG"):
        (tmp_path / name).touch()
    assert names(find_images([tmp_path]), tmp_path) == ["a.JPEG", "b.Tif", "g.PNG"]
    assert names(find_images([tmp_path / "*"]), tmp_path) == ["a.JPEG", "b.Tif", "g.PNG"]
    assert find_images([tmp_path / "g.PNG"]) == [str(tmp_path / "g.PNG")]
    with pytest.raises(SourceError, match="matches no image"):
        find_images([tmp_path / ".e*"])
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / ".hidden").touch()
    with pytest.raises(SourceError, match=r"no image in .*only\. Correct"):
        find_images([tmp_path / "only"])
    for name in ("x.TXT", "y.txt", "z.txt", "README", "w.csv"):
        (tmp_path / "only" / name).touch()
    with pytest.raises(SourceError, match=r"5 other files \(\.txt, README, \.csv\)"):
        find_images([tmp_path / "only"])


def test_a_pattern_with_stars_goes_through_folders_and_takes_no_folder(tmp_path: Path) -> None:
    deep = photos(tmp_path / "a" / "b", {"red": 1})
    flat = photos(tmp_path / "a", {"blue": 1})
    (tmp_path / "a" / "folder.png").mkdir()
    assert find_images([tmp_path / "a" / "*.png"]) == [str(flat[0])]
    assert find_images([tmp_path / "**" / "*.png"]) == sorted(map(str, [*deep, *flat]))
    assert find_images([tmp_path / "a" / "blue_00?.png"]) == [str(flat[0])]
    assert find_images([tmp_path / "a" / "blue_00[0-4].png"]) == [str(flat[0])]


def sorted_out(*sources: SourceConfig) -> tuple[list[str], list[str]]:
    """The names of the images, and of the films."""
    found = find_sources(sources)
    return [Path(path).name for path in found.images], [path.name for path, _ in found.films]


def test_films_are_told_from_pictures(tmp_path: Path) -> None:
    for name in ("films/a.MP4", "films/deep/b.mov", "films/notes.txt", "mixed/c.mp4", "one.Mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    photos(tmp_path / "mixed", {"red": 1})
    photos(tmp_path / "pictures", {"red": 1})
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").touch()
    (tmp_path / "loud").mkdir()
    for name in ("A.AVI", "z.txt"):
        (tmp_path / "loud" / name).touch()
    paths = {path.name: SourceConfig(path=path) for path in tmp_path.iterdir()}
    assert sorted_out(paths["loud"]) == ([], ["A.AVI"])
    assert sorted_out(paths["films"]) == ([], ["a.MP4", "b.mov"])
    assert sorted_out(paths["one.Mkv"]) == ([], ["one.Mkv"])
    # Where there is a picture, the films beside it are not meant, unless frames are spoken of.
    for name in ("mixed", "pictures"):
        assert sorted_out(paths[name]) == (["red_000.png"], [])
    with pytest.raises(SourceError, match=r"no image in .*text; it holds 1 other files \(.txt\)"):
        find_sources([paths["text"]])
    asked = SourceConfig(path=tmp_path / "mixed", every=3)
    assert sorted_out(asked, paths["pictures"]) == (["red_000.png"], ["c.mp4"])
    ((video, sampling),) = find_sources([asked]).films
    assert video == tmp_path / "mixed" / "c.mp4" and sampling.frames == 3


@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".parquet"])
def test_a_manifest_may_say_where_a_file_lies_in_three_ways(tmp_path: Path, suffix: str) -> None:
    first, second, third = photos(tmp_path / "photos", {"red": 3})
    (tmp_path / "lists").mkdir()
    told = ["../photos/red_000.png", str(second), f"  ../photos/{third.name} "]
    manifest = tmp_path / "lists" / f"list{suffix}"
    table = pl.DataFrame({" path ": told})
    (table.write_parquet if suffix == ".parquet" else table.write_csv)(manifest)
    found = find_images([manifest])
    assert [sha256(Path(path)) for path in found] == [sha256(one) for one in (first, third, second)]
    assert scan(found)["status"].to_list() == ["ok"] * 3


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
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "b.txt").touch()
    for source, reason in {
        "only": r"no image in .*1 other files \(", "none": "does not exist",
        ".": "clip.mp4 is a film",
        "*.png": "matches no image", "a.txt": "neither an image",
    }.items():  # fmt: skip
        with pytest.raises(SourceError, match=reason):
            find_images([tmp_path / source])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no video"):
        find_sources([SourceConfig(path=tmp_path / "empty", fps=2.0)])


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


def test_hashing_everything_again_notices_what_size_and_time_hide(tmp_path: Path) -> None:
    path, other = photos(tmp_path, {"red": 2})
    age([path, other])
    before = scan([path, other])
    data = bytearray(path.read_bytes())
    data[-30] ^= 255
    path.write_bytes(data)
    age([path])
    os.utime(path, ns=(0, before["mtime_ns"][0]))
    trusting, verifying = scan([path, other], before), scan([path, other])
    assert trusting["id"].to_list() == before["id"].to_list()
    assert verifying["id"].to_list() == [sha256(path), before["id"][1]]


def test_another_size_or_an_earlier_time_is_a_change(tmp_path: Path) -> None:
    paths = photos(tmp_path, {"red": 3})
    age(paths)
    before = scan(paths)
    state = paths[0].stat()
    paths[0].write_bytes(paths[0].read_bytes() + b"\0")
    paths[1].write_bytes(paths[1].read_bytes()[:-1] + b"\0")
    os.utime(paths[0], ns=(0, before["mtime_ns"][0]))
    os.utime(paths[1], ns=(0, before["mtime_ns"][1] - 10**9))
    again = scan(paths, before)
    assert again["id"].to_list() == [sha256(path) for path in paths]
    assert again["bytes"].to_list() == [state.st_size + 1, *before["bytes"][1:]]
    assert [new == old for new, old in zip(again["id"], before["id"], strict=True)] == [
        False, False, True,
    ]  # fmt: skip


def test_only_a_time_that_is_past_is_remembered(tmp_path: Path) -> None:
    old, new = photos(tmp_path, {"red": 2})
    age([old])
    os.utime(new, ns=(0, time.time_ns() + 10**12))
    images = scan([old, new])
    assert images["mtime_ns"].to_list() == [old.stat().st_mtime_ns, None]


def test_the_first_by_path_is_the_one_whoever_was_known_before(tmp_path: Path) -> None:
    (source,) = photos(tmp_path / "a", {"red": 1})
    copies = [tmp_path / "a" / name for name in ("x.png", "b.png", "c.png")]
    copies[0].write_bytes(source.read_bytes())
    source.unlink()
    age(copies[:1])
    before = scan(find_images([tmp_path]))
    for copy in copies[1:]:
        copy.write_bytes(copies[0].read_bytes())
    age(copies)
    images = scan(find_images([tmp_path]), before)
    assert names(images["path"].to_list(), tmp_path / "a") == ["b.png", "c.png", "x.png"]
    assert images["status"].to_list() == ["ok", "duplicate", "duplicate"]
    assert images["reason"].to_list() == [
        None, *[f"It has the same bytes as {copies[1]}."] * 2,
    ]  # fmt: skip
    # The first one gone, the next takes its place, although nothing is read again.
    copies[1].unlink()
    after = scan(find_images([tmp_path]), images)
    assert after["status"].to_list() == ["ok", "duplicate"]
    assert after["reason"].to_list() == [None, f"It has the same bytes as {copies[2]}."]


def test_a_failure_takes_its_duplicates_with_it(tmp_path: Path) -> None:
    first, other = photos(tmp_path, {"red": 2})
    (tmp_path / "z.png").write_bytes(first.read_bytes())
    images = scan(find_images([tmp_path]))
    assert with_failures(images, {}) is images
    failed = with_failures(images, {sha256(first): "It is damaged.", "0" * 64: "Not here."})
    assert failed["status"].to_list() == ["unreadable", "ok", "unreadable"]
    assert failed["reason"].to_list() == ["It is damaged.", None, "It is damaged."]
    assert failed["id"].to_list() == [sha256(first), sha256(other), sha256(first)]


def test_unreadable_copies_are_no_duplicates(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    images = scan(find_images([tmp_path]))
    assert images["status"].to_list() == ["unreadable", "unreadable"]
    assert images["id"].n_unique() == 1


@pytest.mark.parametrize("missing", [4095, 4096, 8191])
def test_files_in_any_number_are_told_in_their_order(tmp_path: Path, missing: int) -> None:
    """Files are looked at 4,096 at a time; the borders between must not show."""
    first, last = tmp_path / "0.png", tmp_path / "z.png"
    picture("red", 1).save(first)
    picture("red", 2).save(last)
    copy = tmp_path / "zz.png"
    copy.write_bytes(first.read_bytes())
    age([first, last, copy])
    gone = [f"{tmp_path}/gone/{number:05d}.png" for number in range(missing)]
    paths = [str(first), *gone, str(last), str(copy)]
    told: list[tuple[int, int]] = []
    before = scan(paths, progress=lambda *step: told.append(step))
    assert before["path"].to_list() == paths
    assert before["status"].to_list() == ["ok", *["unreadable"] * missing, "ok", "duplicate"]
    assert before["id"].drop_nulls().to_list() == [sha256(first), sha256(last), sha256(first)]
    total = missing + 3
    assert told == [(min(done, total), total) for done in range(4096, total + 4096, 4096)]
    # Bytes that are not read again keep their ids in every part of the list.
    for path in (first, last, copy):
        state = path.stat()
        path.write_bytes(bytes(state.st_size))
        os.utime(path, ns=(0, state.st_mtime_ns))
    again = scan(paths, before)
    assert again["id"].to_list() == before["id"].to_list()
    assert again["status"].to_list() == before["status"].to_list()


def test_known_and_new_files_keep_their_order(tmp_path: Path) -> None:
    paths = photos(tmp_path, {"red": 7, "blue": 2})
    age(paths)
    before = scan([paths[1], paths[4], paths[8]])
    found = scan(paths, before)
    assert found["path"].to_list() == [str(path) for path in paths]
    assert found["id"].to_list() == [sha256(path) for path in paths]
    assert found["bytes"].to_list() == [path.stat().st_size for path in paths]


def test_the_outcome_in_one_line(tmp_path: Path) -> None:
    assert describe(scan(photos(tmp_path / "one", {"red": 1}))) == "Found 1 image: 1 usable."
    paths = [path.rename(tmp_path / path.name) for path in photos(tmp_path / "a", {"red": 2})]
    for number in range(3):
        (tmp_path / f"e{number}.png").touch()
        if number < 2:
            (tmp_path / f"copy{number}.png").write_bytes(paths[0].read_bytes())
    named = "e0.png: The file is empty. e1.png: The file is empty. e2.png: The file is empty."
    found = sorted(str(path) for path in tmp_path.glob("*.png"))
    assert describe(scan(found)) == (
        f"Found 7 images: 2 usable, 2 exact duplicates, 3 unreadable ({named})."
    )
    (tmp_path / "f.png").touch()
    found = sorted(str(path) for path in tmp_path.glob("*.png") if path.name != "copy1.png")
    assert describe(scan(found)) == (
        f"Found 7 images: 2 usable, 1 exact duplicate, 4 unreadable ({named} …)."
    )


def test_damaged_videos_get_a_row_each(tmp_path: Path) -> None:
    images = scan(photos(tmp_path, {"red": 1}))
    assert with_damaged(images, {}).equals(images)
    found = with_damaged(images, {tmp_path / "a.mp4": "Broken.", tmp_path / "b.mp4": "Cut off."})
    assert found["status"].to_list() == ["ok", "unreadable", "unreadable"]
    assert found["reason"].to_list() == [None, "Broken.", "Cut off."]
    assert found["path"].to_list()[1:] == [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]


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


def rows_of(truth: pl.DataFrame) -> list[tuple[str, str, str]]:
    return truth.select("id", "path", "class").rows()


def test_truth_has_a_row_for_each_picture_by_its_first_place(tmp_path: Path) -> None:
    first, second = photos(tmp_path / "red", {"red": 2})
    (tmp_path / "red" / "deeper" / "blue").mkdir(parents=True)
    (tmp_path / "red" / "deeper" / "blue" / "copy.png").write_bytes(second.read_bytes())
    (tmp_path / "red" / "notes.txt").touch()
    (tmp_path / "notes.txt").touch()
    (other,) = photos(tmp_path / "blue", {"blue": 1})
    truth, problems = read_truth(tmp_path)
    assert rows_of(truth) == [
        (sha256(other), str(other), "blue"),
        (sha256(second), str(tmp_path / "red" / "deeper" / "blue" / "copy.png"), "red"),
        (sha256(first), str(first), "red"),
    ]
    assert problems == []


def test_a_tables_paths_are_looked_for_beside_it_first(tmp_path: Path) -> None:
    near = photos(tmp_path / "table", {"red": 1})[0]
    far = photos(tmp_path / "far", {"red": 2})
    further = photos(tmp_path / "further", {"red": 3})
    table = tmp_path / "table" / "truth.csv"
    lines = ["red_000.png,a", "red_001.png,b", "red_002.png,c", f"{far[1]},b", "red_009.png,d"]
    table.write_text("\n".join(["path,class", *lines]))
    truth, problems = read_truth(table, beside=[tmp_path / "far", tmp_path / "further"])
    assert rows_of(truth) == [
        (sha256(near), str(near), "a"),
        (sha256(far[1]), str(far[1]), "b"),
        (sha256(further[2]), str(further[2]), "c"),
    ]
    lost = tmp_path / "table" / "red_009.png"
    assert problems == [f"{lost} cannot be used as truth. There is no such file."]


def test_a_table_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    first, second = photos(tmp_path, {"red": 2})
    table = tmp_path / "truth.csv"
    table.write_text("path,class\nred_000.png,a\nred_001.png,b\nred_000.png,a\n")
    assert len(read_truth(table)[0]) == 2
    second.write_bytes(first.read_bytes())
    says = f"{first} and {second} are the same picture, labeled 'a' and 'b'"
    with pytest.raises(SourceError, match=re.escape(says)):
        read_truth(table)


def test_truth_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    photos(tmp_path / "a", {"red": 1})
    photos(tmp_path / "b", {"red": 1})
    with pytest.raises(SourceError, match="same picture, labeled 'a' and 'b'"):
        read_truth(tmp_path)


def test_truth_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
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
