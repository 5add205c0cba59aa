"""The exported dataset: stable splits without leaks, and every reader opens it."""

from __future__ import annotations

import errno
import json
import os
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.config import DatasetConfig, SplitsConfig
from pipeline.dataset.export import export_dataset, file_name
from pipeline.dataset.plan import plan_dataset, warnings_about
from pipeline.dataset.splits import assign_splits, deal
from pipeline.errors import SourceError
from pipeline.labels.near_duplicates import near_duplicates
from pipeline.pixels import read_rgb
from pipeline.records import DATASET
from tests.fakes import photos, sha256, unit
from tests.second_process import in_another_process

NO_PAIRS = np.empty((0, 2), np.int64)
SHARES = SplitsConfig()
CLASSES = ("red", "blue", "empty")


def random_vectors(n: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, 32)))


def accepted_photos(folder: Path, red: int = 30, blue: int = 20) -> pl.DataFrame:
    paths = photos(folder, {"red": red, "blue": blue})
    return pl.DataFrame(
        {
            "id": [sha256(path) for path in paths],
            "path": [str(path) for path in paths],
            "class": [path.name.split("_")[0] for path in paths],
        }
    )


def planned(folder: Path, **counts: int) -> pl.DataFrame:
    accepted = accepted_photos(folder, **counts)
    return plan_dataset(accepted, random_vectors(len(accepted)), DatasetConfig())


def test_shares_come_out_over_many_images() -> None:
    counts = Counter(deal(f"{number:064x}", SHARES, 0) for number in range(20_000))
    assert counts["train"] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert counts["valid"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_a_seed_deals_the_same_and_another_one_anew() -> None:
    keys = [f"{number:064x}" for number in range(500)]
    first = [deal(key, SHARES, 0) for key in keys]
    assert first != [deal(key, SHARES, 1) for key in keys]
    script = """
        import json, sys
        from pipeline.config import SplitsConfig
        from pipeline.dataset.splits import deal
        print(json.dumps([deal(key, SplitsConfig(), 0) for key in json.loads(sys.argv[1])]))
    """
    again = in_another_process("-c", textwrap.dedent(script), json.dumps(keys))
    assert json.loads(again) == first


# In any order, for the smallest id of a group may be new, and few, so that groups are joined.
ids = st.lists(st.integers(0, 10**6), min_size=1, max_size=10, unique=True).map(
    lambda numbers: [f"{number:064x}" for number in numbers]
)


@settings(max_examples=300)
@given(ids, st.data())
def test_added_images_never_move_old_ones_and_look_alikes_share_a_split(
    keys: list[str], data: st.DataObject
) -> None:
    # Which of all pairs look alike: drawn by a seed, since lists of pairs come out too short.
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    share = data.draw(st.sampled_from([0.0, 0.1, 0.2, 0.4]))
    pairs = np.argwhere(np.triu(rng.random((len(keys), len(keys))) < share, 1))
    old = data.draw(st.integers(0, len(keys)))
    within = pairs[(pairs < old).all(axis=1)] if old else NO_PAIRS
    before = assign_splits(keys[:old], within, SHARES, 0)
    assert None not in before.splits  # a fresh run throws nothing away
    # What is remembered may come from other images, other shares and other thresholds.
    some = st.lists(st.sampled_from(("train", "valid", "test")), min_size=old, max_size=old)
    remembered = dict(zip(keys, data.draw(st.just(before.splits) | some), strict=False))
    previous = pl.DataFrame(
        {"id": list(remembered), "split": list(remembered.values())},
        schema={"id": pl.String, "split": pl.String},
    )
    after = assign_splits(keys, pairs, SHARES, 0, previous)
    assert {key: after.splits[keys.index(key)] for key in remembered} == remembered
    for first, second in pairs.tolist():
        splits = {after.splits[first], after.splits[second]} - {None}
        both_old = keys[first] in remembered and keys[second] in remembered
        assert len(splits) <= 1 or both_old
    # Left out is only what would leak wherever it went: it resembles images of two splits.
    for row in [row for row, split in enumerate(after.splits) if split is None]:
        beside = {after.splits[i + j - row] for i, j in pairs.tolist() if row in (i, j)} - {None}
        assert len(beside) > 1


def test_near_duplicates_are_found_beneath_what_all_images_share() -> None:
    common = np.full(32, 3.0)
    spread = np.random.default_rng(0).normal(size=(60, 32))
    spread[7] = spread[3] + 0.01
    pairs = near_duplicates(unit(spread + common), 0.98)
    assert pairs.tolist() == [[3, 7]]
    assert len(near_duplicates(unit(spread[:1]), 0.5)) == 0


def test_near_duplicates_agree_across_blocks() -> None:
    vectors = random_vectors(4500)
    vectors[4400] = vectors[10]
    assert [10, 4400] in near_duplicates(vectors, 0.999).tolist()


def test_bytes_arrive_unchanged_under_names_that_never_collide(tmp_path: Path) -> None:
    photos(tmp_path / "a", {"red": 3})
    photos(tmp_path / "b", {"red": 3}, start=50)
    for number, path in enumerate(sorted((tmp_path / "b").iterdir())):
        path.rename(path.with_name(f"red_{number:03d}.png"))
    paths = sorted(tmp_path.glob("?/*.png"))
    accepted = pl.DataFrame(
        {"id": [sha256(p) for p in paths], "path": [str(p) for p in paths], "class": ["red"] * 6}
    )
    plan = plan_dataset(accepted, random_vectors(6), DatasetConfig())
    assert plan.schema == pl.Schema(DATASET)
    out = tmp_path / "dataset"
    for way in ("link", "copy"):
        export_dataset(plan, out, files=way)
        written = list(out.rglob("*.png"))
        assert sorted(map(sha256, written)) == sorted(accepted["id"])
        for split in ("train", "valid", "test"):
            there = set(plan.filter(pl.col("split") == split)["class"])
            assert {path.name for path in (out / split).iterdir()} == there
    linked = {path.stat().st_ino for path in paths}
    assert not linked & {path.stat().st_ino for path in written}


def test_every_reader_opens_it(tmp_path: Path) -> None:
    import supervision
    from torchvision.datasets import ImageFolder

    from pipeline.student.data import list_samples

    plan = planned(tmp_path / "photos")
    out = tmp_path / "dataset"
    export_dataset(plan, out)
    count = plan.filter(pl.col("split") == "train").height
    folder = supervision.ClassificationDataset.from_folder_structure(str(out / "train"))
    assert len(folder) == count and folder.classes == ["blue", "red"]
    assert len(ImageFolder(str(out / "train"))) == count
    assert len(list_samples(out, ("red", "blue"))["train"]) == count


def test_formats_that_readers_skip_arrive_as_png(tmp_path: Path) -> None:
    path = tmp_path / "x.gif"
    Image.new("P", (9, 9), 3).save(path)
    accepted = pl.DataFrame({"id": [sha256(path)], "path": [str(path)], "class": ["red"]})
    plan = plan_dataset(accepted, random_vectors(1), DatasetConfig())
    export_dataset(plan, tmp_path / "dataset")
    (written,) = (tmp_path / "dataset").rglob("red/*")
    assert written.suffix == ".png" and Image.open(written).format == "PNG"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1).filter(
        lambda stem: len(stem.encode()) < 250
    )
)
def test_file_names_are_legal_everywhere(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.jpg"
    Image.new("RGB", (4, 4)).save(path, "JPEG")
    accepted = pl.DataFrame({"id": ["ab" * 32], "path": [str(path)], "class": ["red"]})
    name = plan_dataset(accepted, random_vectors(1), DatasetConfig())["file"][0].split("/", 2)[2]
    assert len(name.encode()) < 200
    assert not set('<>:"/\\|?*') & set(name) and name == name.strip(" .")


def test_a_vanished_image_leaves_the_old_dataset(tmp_path: Path) -> None:
    plan = planned(tmp_path / "photos", red=4, blue=4)
    out = tmp_path / "dataset"
    export_dataset(plan, out)
    before = sorted(path.name for path in out.rglob("*"))
    Path(plan["path"][2]).unlink()
    with pytest.raises(SourceError, match="not there any more"):
        export_dataset(plan, out)
    assert sorted(path.name for path in out.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_a_person_should_know_is_said(tmp_path: Path) -> None:
    (few,) = warnings_about(planned(tmp_path, red=60, blue=3).filter(pl.col("class") == "blue"),
                            ("blue",), 0)  # fmt: skip
    assert "blue (3)" in few
    sentences = warnings_about(planned(tmp_path / "b", red=60, blue=60), ("red", "blue"), 2)
    assert any("would leak: 2 images resembling" in sentence for sentence in sentences)


def table_of(*rows: tuple[str, str, int], group: int = 1) -> pl.DataFrame:
    """A dataset of (class, split, images); of all of them the first `group` look alike."""
    cells = [(name, split) for name, split, count in rows for _ in range(count)]
    return pl.DataFrame(
        {
            "id": [f"{number:04d}" for number in range(len(cells))],
            "path": ["/p/x.jpg"] * len(cells),
            "class": [name for name, _ in cells],
            "split": [split for _, split in cells],
            "group": ["0000" if at < group else f"{at:04d}" for at in range(len(cells))],
            "file": ["x.jpg"] * len(cells),
        },
        schema=DATASET,
    )


def test_ten_images_of_a_class_are_enough_to_say_nothing() -> None:
    def rows(train: int) -> pl.DataFrame:
        return table_of(("red", "train", train), ("red", "valid", 1), ("red", "test", 1))

    assert warnings_about(rows(8), ("red",), 0) == []
    (few,) = warnings_about(rows(7), ("red",), 0)
    assert "(under 10): red (9)." in few
    (none,) = warnings_about(rows(8), ("red", "blue"), 0)
    assert none.startswith("No image was labeled as: blue. Such a class gets no folder")
    names = [f"c{number:02d}" for number in range(14)]
    (many,) = warnings_about(rows(8), names, 0)
    assert "c10, c11 and 2 more. Such" in many
    (twelve,) = warnings_about(rows(8), names[:12], 0)
    assert "c10, c11. Such" in twelve


def test_a_split_without_a_class_is_told_of_where_there_are_images_enough() -> None:
    lacking = table_of(("red", "train", 9), ("red", "test", 1), ("blue", "valid", 10))
    assert warnings_about(lacking, ("red", "blue"), 0) == [
        "The valid split has no image of: red.",
        "The test split has no image of: blue.",
    ]
    # Of too few images that is said, and nothing more.
    (few,) = warnings_about(table_of(("red", "train", 9)), ("red",), 0)
    assert few.startswith("Too few")


@pytest.mark.parametrize(
    ("images", "group", "told"),
    [(40, 20, False), (40, 21, True), (104, 20, False), (104, 21, True), (110, 22, False),
     (110, 23, True), (204, 40, False), (204, 41, True)],
)  # fmt: skip
def test_a_group_above_twenty_images_and_a_fifth_of_all_is_told_of(
    images: int, group: int, told: bool
) -> None:
    rows = ("red", "train", images - 2), ("red", "valid", 1), ("red", "test", 1)
    sentences = warnings_about(table_of(*rows, group=group), ("red",), 0)
    assert [one.partition(" count as")[0] for one in sentences] == (
        [f"{group} of {images} images"] if told else []
    )


def test_what_was_left_out_is_told_of() -> None:
    rows = ("red", "train", 10), ("red", "valid", 1), ("red", "test", 1)
    assert warnings_about(table_of(*rows), ("red",), 0) == []
    (left,) = warnings_about(table_of(*rows), ("red",), 1)
    assert left.startswith("Left out, as that would leak: 1 image resembling")
    assert warnings_about(table_of(), (), 0) == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("IMG_1.jpg", "IMG_1-0123456789ab.jpg"),
        ("IMG 1.JPEG", "IMG 1-0123456789ab.jpeg"),
        ('a<b>c:d"e\\f|g?h*i\x1fj\x7f.png', "a_b_c_d_e_f_g_h_i_j_-0123456789ab.png"),
        (" .x. .tif", "x-0123456789ab.tif"),
        ("x" * 61 + ".bmp", "x" * 60 + "-0123456789ab.bmp"),
        ("語" * 60 + ".webp", "語" * 50 + "-0123456789ab.webp"),  # 150 bytes
        (".. .jpg", "image-0123456789ab.jpg"),
    ],
)
def test_names_that_people_recognize(tmp_path: Path, name: str, wanted: str) -> None:
    form = {".jpeg": "JPEG", ".jpg": "JPEG", ".tif": "TIFF"}.get(Path(wanted).suffix)
    Image.new("RGB", (4, 4)).save(tmp_path / name, form or Path(wanted).suffix[1:].upper())
    assert file_name(tmp_path / name, "0123456789abcdef" * 4) == wanted


def test_every_class_with_images_has_a_folder_and_every_image_its_place(tmp_path: Path) -> None:
    # One picture is named as another, of the same class and split; the content tells them apart.
    paths = photos(tmp_path / "a", {"red": 2}) + photos(tmp_path / "b", {"red": 2}, start=2)
    for at, path in enumerate(paths):
        paths[at] = path.rename(path.with_name(f"same{at % 2}.png"))
    rows = [(sha256(path), str(path), "red") for path in paths]
    accepted = pl.DataFrame(rows, {"id": str, "path": str, "class": str}, orient="row")
    previous = accepted.with_columns(split=pl.lit("valid"))
    plan = plan_dataset(accepted, None, DatasetConfig(), previous)
    told: list[tuple[int, int]] = []
    out = tmp_path / "dataset"
    (out / "train" / "gone").mkdir(parents=True)
    export_dataset(plan, out, progress=lambda *at: told.append(at))
    folders = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_dir())
    assert folders == ["test", "train", "train/red", "valid", "valid/red"]
    files = {str(path.relative_to(out)): sha256(path) for path in out.rglob("*.png")}
    # A class that is to be learned has an image to learn from, whatever was dealt before.
    first = min(one for one, _, _ in rows)
    assert files == {
        f"{'train' if one == first else 'valid'}/red/same{at % 2}-{one[:12]}.png": one
        for at, (one, _, _) in enumerate(rows)
    }
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_links_share_the_bytes_and_copies_have_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photo,) = photos(tmp_path / "photos", {"red": 1})
    (tmp_path / "linked.png").symlink_to(photo)
    for source in (photo, tmp_path / "linked.png"):
        accepted = pl.DataFrame({"id": [sha256(photo)], "path": [str(source)], "class": ["red"]})
        plan = plan_dataset(accepted, None, DatasetConfig())

        def exported(files: str, plan: pl.DataFrame = plan) -> Path:
            export_dataset(plan, tmp_path / "dataset", files=files)
            (written,) = (tmp_path / "dataset").rglob("*.png")
            assert not written.is_symlink() and written.read_bytes() == photo.read_bytes()
            return written

        assert exported("link").samefile(photo)
        assert not exported("copy").samefile(photo)

    def refuse(number: int) -> None:
        def link(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", link)

    # Where the file system cannot link, whatever it answers, it is copied; a full disk is full.
    for number in (errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EMLINK,
                   errno.ENOSYS, errno.EIO, errno.EINVAL):  # fmt: skip
        refuse(number)
        assert not exported("link").samefile(photo)
    refuse(errno.ENOSPC)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        exported("link")


@pytest.mark.parametrize("files", ["link", "copy"])
def test_what_readers_pass_over_becomes_a_png_of_the_same_pixels(
    tmp_path: Path, files: str
) -> None:
    rng = np.random.default_rng(0)
    drawn = Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8))
    clear = drawn.convert("RGBA")
    clear.putalpha(Image.fromarray(rng.integers(0, 256, (12, 9), np.uint8)))
    drawn.save(tmp_path / "a.gif")
    clear.save(tmp_path / "b.tga")
    drawn.save(tmp_path / "c.ppm")
    # These are formats that readers know, under a suffix that they do not.
    for name, kind in (("d.jfif", "JPEG"), ("e.apng", "PNG"), ("f.dib", "BMP")):
        drawn.save(tmp_path / name, kind)
    paths = sorted(path for path in tmp_path.iterdir())
    accepted = pl.DataFrame(
        {"id": [sha256(p) for p in paths], "path": [str(p) for p in paths], "class": ["red"] * 6}
    )
    plan = plan_dataset(accepted, None, DatasetConfig())
    export_dataset(plan, tmp_path / "dataset", files=files)
    written = [tmp_path / "dataset" / file for file in plan["file"]]
    suffixes = [path.suffix for path in written]
    assert suffixes == [".png", ".png", ".png", ".jpg", ".png", ".bmp"]
    for source, target in zip(paths[:3], written[:3], strict=True):
        with Image.open(target) as image:
            assert image.format == "PNG" and image.mode == "RGB"
            assert np.array_equal(np.asarray(image), np.asarray(read_rgb(source)))
    with Image.open(written[2]) as image:
        assert np.array_equal(np.asarray(image), np.asarray(drawn))
    for source, target in zip(paths[3:], written[3:], strict=True):
        assert target.read_bytes() == source.read_bytes()
    # What is decoded is bounded as everywhere.
    with pytest.raises(SourceError, match="max_pixels"):
        export_dataset(plan, tmp_path / "other", max_pixels=107)
    export_dataset(plan, tmp_path / "other", max_pixels=108)


def test_every_split_has_an_image_of_each_class_where_there_are_enough() -> None:
    names = [f"{number:03d}" for number in range(45)]
    classes = ["red"] * 36 + ["blue"] * 4 + ["green"] * 3 + ["gray"] * 2
    accepted = pl.DataFrame(
        {"id": names, "path": [f"/p/{name}.jpg" for name in names], "class": classes}
    )
    plan = plan_dataset(accepted, None, DatasetConfig(near_duplicate=None))
    there = plan.group_by("split").agg(pl.col("class").unique().sort())
    found = dict(there.iter_rows())
    assert all(
        {"red", "blue", "green"} <= set(found[split]) for split in ("train", "valid", "test")
    )
    assert "gray" in found["train"]
    # What was exported before stays where it is, as long as train has something to learn from.
    again = plan_dataset(accepted, None, DatasetConfig(near_duplicate=None, seed=1), plan)
    assert again.sort("id")["split"].to_list() == plan.sort("id")["split"].to_list()
    only_test = plan.filter(pl.col("class") == "green").with_columns(split=pl.lit("test"))
    moved = plan_dataset(accepted, None, DatasetConfig(near_duplicate=None), only_test)
    greens = moved.filter(pl.col("class") == "green").sort("id")["split"].to_list()
    assert greens == ["train", "test", "test"]
