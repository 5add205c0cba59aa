"""The dataset as shards: read by strangers, the same bytes each time, kept through kills."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from pipeline.config import DatasetConfig
from pipeline.dataset.export import export_dataset
from pipeline.dataset.pack import FORMATS, Picture
from pipeline.dataset.plan import plan_dataset
from pipeline.dataset.sharded import read_note, read_sharded
from pipeline.dataset.shards import deal_shards, export_shards
from pipeline.errors import SourceError, WorkspaceError
from pipeline.images.scan import scan
from pipeline.images.sources import find_sources
from pipeline.records import BELIEFS, SHARDED_FILE, SHARDS_MADE, SPLITS
from pipeline.run.workspace import Workspace
from pipeline.storage.address import Member, Place, entry_of
from pipeline.storage.reading import read_bytes
from pipeline.student import train
from pipeline.student.data import FolderImages
from tests.fakes import photos, picture, sha256
from tests.second_process import in_another_process
from tests.stores import Store, s3_store
from tests.tiny_student import config as quick

# What a folder may be called: to tools that split names, fill in patterns or run words.
ODD = ("--rm .cls", "{0..9} & 'q' $(x)", "zürich.png,🍎")
FORMS = ("webdataset", "parquet")


def plan_of(paths: list[Path]) -> pl.DataFrame:
    names = dict(zip(("red", "blue", "green"), ODD, strict=True))
    accepted = pl.DataFrame(
        {
            "id": [sha256(path) for path in paths],
            "path": [str(path) for path in paths],
            "class": [names[path.name.split("_")[0]] for path in paths],
        }
    )
    return plan_dataset(accepted, None, DatasetConfig(near_duplicate=None))


def sizes_of(plan: pl.DataFrame) -> pl.DataFrame:
    sizes = [Path(path).stat().st_size for path in plan["path"]]
    return plan.select("id", bytes=pl.Series(sizes, dtype=pl.Int64))


def export(plan: pl.DataFrame, run: Path, form: str = "webdataset", **more: Any) -> Any:
    """Some three to five thousand bytes an image: eight of them make a shard or two."""
    settings = {"form": form, "shard_bytes": 40_000, **more}
    return export_shards(plan, sizes_of(plan), run / "dataset", **settings)


def places_in(run: Path) -> dict[str, Place]:
    shards = read_sharded(Workspace(run))
    assert shards is not None and shards.lacking() == []
    return shards.places()


def bytes_in(run: Path) -> dict[str, bytes]:
    """All shards of a run, by name."""
    folder = run / "dataset"
    found = [path for split in SPLITS for path in (folder / split).glob("*.*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def names_in(store: Store) -> set[str]:
    """What lies in a bucket below `out/`, by name."""
    return {key.removeprefix("out/") for key in [*store.keys()]}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of three colors, to be read only."""
    return photos(tmp_path_factory.mktemp("images"), {"red": 20, "blue": 20, "green": 20})


@pytest.fixture(scope="module")
def plan(images: list[Path]) -> pl.DataFrame:
    return plan_of(images)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with s3_store(monkeypatch) as served:
        yield served


@pytest.mark.parametrize("form", FORMS)
def test_each_image_lies_in_one_shard_of_its_split_as_it_is(
    form: str, plan: pl.DataFrame, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    export(plan, tmp_path, form, progress=lambda *at: told.append(at))
    assert told[-1] == (60, 60)
    places = places_in(tmp_path)
    assert places.keys() == set(plan["file"])
    for one in plan.iter_rows(named=True):
        place = places[one["file"]]
        entry = entry_of(place)
        assert isinstance(entry, Member) and Path(entry.shard).parent.name == one["split"]
        assert read_bytes(place) == Path(one["path"]).read_bytes()
    sizes = [len(data) for data in bytes_in(tmp_path).values()]
    assert len(sizes) >= 6 and sum(sizes) < 60 * 7_000


def test_tar_shards_have_an_image_its_number_and_its_facts(
    plan: pl.DataFrame, tmp_path: Path
) -> None:
    export(plan, tmp_path)
    index = json.loads((tmp_path / "dataset" / "shards.json").read_text("utf-8"))
    assert index["classes"] == sorted(ODD) and index["format"] == "webdataset"
    known = {one["id"]: one for one in plan.iter_rows(named=True)}
    seen = 0
    for split, shards in index["shards"].items():
        for shard in shards:
            with tarfile.open(tmp_path / "dataset" / shard["name"]) as tar:
                members = {one.name: one for one in tar}
                assert len(members) == 3 * shard["images"]
                assert {(one.mtime, one.uid, one.uname) for one in members.values()} == {(0, 0, "")}
                data = {name: tar.extractfile(one).read() for name, one in members.items()}  # type: ignore[union-attr]
            for name in [name for name in data if name.endswith(".png")]:
                said, one = json.loads(data[f"{name[:-4]}.json"]), known[name[:-4]]
                assert said["class"] == one["class"] and one["split"] == split
                assert (
                    said["label"]
                    == sorted(ODD).index(one["class"])
                    == int(data[f"{name[:-4]}.cls"])
                )
                assert said["name"] == one["file"].rsplit("/", 1)[-1]
                seen += 1
    assert seen == 60 == sum(index["images"].values())


HUGGING_FACE = """
import collections, json, sys
import datasets
for form in ("webdataset", "parquet"):
    found = datasets.load_dataset(f"{form}/dataset", cache_dir="cache")
    for split, rows in found.items():
        if "label" in rows.features:
            names, picture = rows.features["label"].names, "image"
            said = [names[label] for label in rows["label"]]
        else:
            picture, said = "png", [facts["class"] for facts in rows["json"]]
            assert [facts["label"] for facts in rows["json"]] == rows["cls"][:]
        assert all(image.size == (40, 32) for image in rows[picture])
        print(json.dumps([form, split, collections.Counter(said)]))
"""


def test_hugging_face_reads_them_with_their_names(plan: pl.DataFrame, tmp_path: Path) -> None:
    for form in FORMS:
        export(plan, tmp_path / form, form)
    # From elsewhere: in the repository a folder has the name of that library.
    done = subprocess.run(
        [sys.executable, "-c", HUGGING_FACE],
        env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    if "No module named 'datasets'" in done.stderr:
        pytest.skip("needs Hugging Face's datasets, which is not installed")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = []
    for form in FORMS:
        for split, name in (("train", "train"), ("valid", "validation"), ("test", "test")):
            some = plan.filter(pl.col("split") == split)
            wanted.append([form, name, dict(some.group_by("class").len().iter_rows())])
    assert found == wanted


@pytest.mark.parametrize("form", FORMS)
def test_they_are_a_source_like_any_other(form: str, plan: pl.DataFrame, tmp_path: Path) -> None:
    from pipeline.config import SourceConfig

    export(plan, tmp_path, form)
    train_split = tmp_path / "dataset" / "train"
    source = SourceConfig(path=train_split)
    if form == "parquet":
        source = SourceConfig(path=train_split / "*.parquet", column="image")
    found = find_sources([source])
    ids = scan(found.images, states=found.states)["id"]
    assert set(ids) == set(plan.filter(pl.col("split") == "train")["id"])


@pytest.mark.parametrize("form", FORMS)
def test_the_same_labels_make_the_same_bytes_elsewhere(
    form: str, images: list[Path], tmp_path: Path
) -> None:
    plan = plan_of(images)
    export(plan, tmp_path / "a", form)
    moved = photos(tmp_path / "else", {"green": 20, "blue": 20, "red": 20})
    export(plan_of(moved).sample(fraction=1, shuffle=True, seed=1), tmp_path / "b", form)
    assert bytes_in(tmp_path / "a") == bytes_in(tmp_path / "b")
    index = [(tmp_path / run / "dataset" / "shards.json").read_bytes() for run in "ab"]
    assert index[0] == index[1]


def test_a_new_image_changes_one_shard_and_others_are_not_written(
    images: list[Path], tmp_path: Path
) -> None:
    export(plan_of(images), tmp_path)
    folder = tmp_path / "dataset"
    before = {name: (folder / name).stat().st_mtime_ns for name in bytes_in(tmp_path)}
    (folder / "notes.txt").write_text("mine")
    (folder / "train" / "000000-0123456789abcdef.tar").write_bytes(b"a stranger's")
    more = [*images, *photos(tmp_path / "more", {"red": 1}, 900)]
    export(plan_of(more), tmp_path)
    after = {name: (folder / name).stat().st_mtime_ns for name in bytes_in(tmp_path)}
    assert len(before.keys() - after.keys()) == 1
    assert len(after.keys() - before.keys()) == 2  # the one with the image, and the stranger's
    assert all(after[name] == before[name] for name in before.keys() & after.keys())
    assert (folder / "notes.txt").read_text() == "mine"
    assert len(places_in(tmp_path)) == 61
    note = read_note(folder)
    assert note is not None and "train/000000-0123456789abcdef.tar" not in note.shards[""]


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_shard_that_is_not_as_it_was_is_written_again(
    harm: str, plan: pl.DataFrame, tmp_path: Path
) -> None:
    export(plan, tmp_path)
    wanted = bytes_in(tmp_path)
    victim = tmp_path / "dataset" / min(wanted)
    victim.unlink() if harm == "gone" else os.truncate(victim, 1000)
    shards = read_sharded(Workspace(tmp_path))
    assert shards is not None and shards.lacking() == [str(victim)]
    export(plan, tmp_path)
    assert bytes_in(tmp_path) == wanted


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import polars as pl
    from pipeline.dataset import shards
    plan, sizes = (pl.read_parquet(file) for file in sys.argv[1:3])
    left = int(sys.argv[4])
    def progress(done, total):
        global left
        left -= 1
        if left == 0:
            print("killed", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    shards.export_shards(plan, sizes, Path(sys.argv[3]), form="parquet", shard_bytes=40_000,
                         progress=progress)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_export_goes_on_and_leaves_nothing(plan: pl.DataFrame, tmp_path: Path) -> None:
    export(plan, tmp_path / "undisturbed", "parquet")
    wanted = bytes_in(tmp_path / "undisturbed")
    plan.write_parquet(tmp_path / "plan.parquet")
    sizes_of(plan).write_parquet(tmp_path / "sizes.parquet")
    folder = tmp_path / "run" / "dataset"
    words = [str(tmp_path / "plan.parquet"), str(tmp_path / "sizes.parquet"), str(folder)]
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), *words, "3"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "killed" in child.stdout, child.stderr
    done = {name: (folder / name).stat().st_mtime_ns for name in bytes_in(tmp_path / "run")}
    assert 3 <= len(done) < len(wanted)
    with pytest.raises(WorkspaceError, match=r"is not there yet. Run `clip2yolo label`"):
        read_sharded(Workspace(tmp_path / "run"))
    # What a kill in the middle of a shard leaves: half of it, in a folder of its own.
    half = folder / "train" / ".x.tmp-1" / "000009-0123456789abcdef.parquet"
    half.parent.mkdir()
    half.write_bytes(b"PAR1")
    export(plan, tmp_path / "run", "parquet")
    assert bytes_in(tmp_path / "run") == wanted
    assert {name: (folder / name).stat().st_mtime_ns for name in done} == done
    assert not list(folder.rglob("*.tmp-*")) and not (folder / ".clip2yolo.parts").exists()
    # Killed once more, before other labels: what it had begun goes with those that it replaces.
    other = plan.filter(pl.col("class") != ODD[0])
    other.write_parquet(tmp_path / "plan.parquet")
    in_another_process("-c", textwrap.dedent(KILLED), *words, "99")
    assert len(places_in(tmp_path / "run")) == 40
    assert bytes_in(tmp_path / "run").keys().isdisjoint(wanted)


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_an_image_that_is_another_by_now_is_refused(harm: str, tmp_path: Path) -> None:
    paths = photos(tmp_path / "p", {"red": 6, "blue": 6, "green": 6})
    plan = plan_of(paths)
    paths[4].unlink() if harm == "gone" else picture("red", 77).save(paths[4])
    sizes = plan.select("id", bytes=pl.lit(3000, pl.Int64))
    says = "was labeled but is not there" if harm == "gone" else "has changed since it was labeled"
    with pytest.raises(SourceError, match=f"red_004.png {says}.*Run `clip2yolo label` again"):
        export_shards(plan, sizes, tmp_path / "dataset", form="webdataset", shard_bytes=9_000)
    assert not list((tmp_path / "dataset").rglob("*.tmp-*"))


def test_what_readers_know_no_better_is_png(tmp_path: Path) -> None:
    paths = photos(tmp_path / "p", {"red": 4, "blue": 4})
    picture("red", 50).save(tmp_path / "p" / "red_a.gif")
    picture("blue", 51).save(tmp_path / "p" / "blue_b.jpeg")
    plan = plan_of([*paths, tmp_path / "p" / "red_a.gif", tmp_path / "p" / "blue_b.jpeg"])
    for _ in range(2):  # what is not written again is said again
        assert "with the same pixels" in str(export(plan, tmp_path / "run").sentences())
    export_dataset(plan, tmp_path / "folder")
    places = places_in(tmp_path / "run")
    for file in plan["file"]:
        assert read_bytes(places[file]) == (tmp_path / "folder" / file).read_bytes()
    entries = {Path(entry_of(place).name).suffix for place in places.values()}  # type: ignore[union-attr]
    assert entries == {".png", ".jpg"}


def test_a_note_of_somebody_else_removes_nothing(plan: pl.DataFrame, tmp_path: Path) -> None:
    export(plan, tmp_path / "run")
    note = tmp_path / "run" / "dataset" / SHARDS_MADE
    precious = tmp_path / "precious.tar"
    precious.write_text("x")
    said = json.loads(note.read_text())
    said["shards"][""] += ["../../precious.tar", "train/../../../precious.tar", str(precious)]
    note.write_text(json.dumps(said))
    export(plan, tmp_path / "run")
    assert precious.is_file()
    note.write_text("{")
    with pytest.raises(WorkspaceError, match=r"is damaged. Delete .*dataset and run"):
        export(plan, tmp_path / "run")


sizes = st.lists(st.integers(0, 10**9), min_size=0, max_size=60)


@settings(max_examples=40)
@given(sizes, st.integers(1000, 10**9), st.integers(0, 2**32))
def test_shards_hold_each_image_once_and_are_not_too_many(
    bytes_: list[int], shard_bytes: int, start: int
) -> None:
    ids = [
        f"{(start + number * 0x9E3779B9) % 2**32:08x}{number:056x}" for number in range(len(bytes_))
    ]
    plan = pl.DataFrame(
        {
            "id": ids,
            "path": ids,
            "class": ["a"] * len(ids),
            "split": ["train"] * len(ids),
            "file": ids,
        },
        schema=dict.fromkeys(("id", "path", "class", "split", "file"), pl.String),
    )
    dealt = deal_shards(
        plan, pl.DataFrame({"id": ids, "bytes": bytes_}, {"id": pl.String, "bytes": pl.Int64}),
        "webdataset", shard_bytes,
    )  # fmt: skip
    found = [one for shard in dealt for one in shard.images["id"]]
    assert found == sorted(ids)  # in the order of shards, too
    assert len(dealt) <= max(1, 2 * sum(bytes_) // shard_bytes, 1)
    assert len({shard.name for shard in dealt}) == len(dealt)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=8), st.data())
def test_any_bytes_are_found_where_they_are(
    tmp_path: Path, contents: list[bytes], data: st.DataObject
) -> None:
    form = data.draw(st.sampled_from(FORMS))
    # Images that hold others with their lengths before them, as Parquet files have them.
    contents += [len(one).to_bytes(4, "little") + one for one in contents]
    contents += [one * 2 for one in contents]
    pictures = [Picture(f"{n:064x}", "a", f"{n}.jpg", one) for n, one in enumerate(contents)]
    packed = FORMATS[form][1](tmp_path / "x", iter(pictures), ["a"])
    written = (tmp_path / "x").read_bytes()
    assert [written[one.start : one.start + one.size] for one in packed] == contents


def weights(student: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(student / "weights.pt", weights_only=False)["model"].state_dict())


def test_a_student_learns_the_same_from_shards(plan: pl.DataFrame, tmp_path: Path) -> None:
    plan = plan.group_by("split", "class", maintain_order=True).head(5)
    export_dataset(plan, tmp_path / "folder")
    files, how = plan["file"].to_list(), quick(epochs=1, batch=32)
    train(tmp_path / "folder", tmp_path / "a", how, sorted(ODD), files=files)
    wanted = weights(tmp_path / "a")
    for form in FORMS:
        export(plan, tmp_path / form, form)
        train(
            tmp_path / form / "dataset", tmp_path / form / "student",
            how.model_copy(update={"workers": 2}) if form == "parquet" else how, sorted(ODD),
            files=files, places=places_in(tmp_path / form),
        )  # fmt: skip
        found = weights(tmp_path / form / "student")
        assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []


def believed_of(plan: pl.DataFrame, undecided: list[Path]) -> pl.DataFrame:
    """What is believed of the train split of a plan, surely of some, and of images beside it."""
    rows: list[list[Any]] = []
    for number, one in enumerate(plan.filter(split="train").iter_rows(named=True)):
        sure = 0.5 + number % 5 / 10
        shares = [sure if name == one["class"] else (1 - sure) / 2 for name in sorted(ODD)]
        rows.append([one["id"], one["path"], one["file"], one["class"], "label"])
        rows[-1] += [False, shares, 1.0]
    for path in undecided:
        rows.append([path.name, str(path), None, None, "belief", False, [0.5, 0.3, 0.2], 0.5])
    return pl.DataFrame(rows, BELIEFS, orient="row")


def test_a_student_is_taught_the_same_beliefs_from_shards(
    plan: pl.DataFrame, tmp_path: Path
) -> None:
    plan = plan.group_by("split", "class", maintain_order=True).head(5)
    beliefs = believed_of(plan, photos(tmp_path / "undecided", {"red": 2, "blue": 1}, 700))
    export_dataset(plan, tmp_path / "folder")
    export(plan, tmp_path / "run")
    files, how = plan["file"].to_list(), quick(epochs=1, batch=32, distill="soft")
    more: dict[str, Any] = {"files": files, "beliefs": beliefs}
    taught = train(tmp_path / "folder", tmp_path / "a", how, sorted(ODD), **more)
    more["places"] = places_in(tmp_path / "run")
    again = train(tmp_path / "run" / "dataset", tmp_path / "b", how, sorted(ODD), **more)
    assert taught.undecided == again.undecided == 3
    wanted, found = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert [name for name in wanted if not torch.equal(wanted[name], found[name])] == []


def test_shards_in_a_store_are_written_once_and_read_by_workers(
    store: Store, plan: pl.DataFrame, tmp_path: Path
) -> None:
    to = "s3://photos/out/"
    export(plan, tmp_path / "run", "parquet", to=to)
    export(plan, tmp_path / "here", "parquet")
    wanted = bytes_in(tmp_path / "here")
    there = names_in(store)
    assert there == {*wanted, "shards.json", SHARDS_MADE} and bytes_in(tmp_path / "run") == {}
    puts = sum(method == "PUT" for method, _ in store.asked)
    export(plan, tmp_path / "run", "parquet", to=to)
    assert sum(method == "PUT" for method, _ in store.asked) == puts + 1  # the list for strangers
    places = places_in(tmp_path / "run")
    first = plan.row(0, named=True)
    assert str(places[first["file"]]).startswith("s3://photos/out/")
    samples = [(places[file], 0) for file in plan["file"]]
    shown = FolderImages(samples, lambda image: torch.tensor(image.getpixel((0, 0))), 10**6)
    batches = [batch["img"] for batch in DataLoader(shown, 8, num_workers=2)]
    from PIL import Image

    wanted_pixels = [Image.open(path).getpixel((0, 0)) for path in plan["path"]]
    assert [tuple(pixel) for batch in batches for pixel in batch.tolist()] == wanted_pixels
    # Other labels: what is of no use any more goes, what others have put there stays.
    store.put("out/mine.txt", b"mine")
    export(plan.filter(pl.col("class") != ODD[0]), tmp_path / "run", "parquet", to=to)
    now = names_in(store)
    assert now.isdisjoint(wanted) and "mine.txt" in now
    with pytest.raises(WorkspaceError, match=r"s3://photos/out holds a dataset that this run has"):
        export(plan, tmp_path / "other", "parquet", to=to)
    # Back home: what lies in the store is named and left alone.
    done = export(plan, tmp_path / "run", "parquet")
    assert bytes_in(tmp_path / "run") == wanted
    assert any("stay in s3://photos/out/; delete" in one for one in done.sentences())
    assert now <= names_in(store)


def test_a_store_that_fails_is_named_and_the_next_run_goes_on(
    store: Store, plan: pl.DataFrame, tmp_path: Path
) -> None:
    seen = 0

    def fault(method: str, path: str, times: int) -> str | None:
        nonlocal seen
        seen += method == "PUT" and ".tar" in path
        return "404" if method == "PUT" and ".tar" in path and seen > 3 else None

    store.fault = fault
    with pytest.raises(
        WorkspaceError, match=r"s3://photos/out/.*cannot be written. There is no such bucket"
    ) as failure:
        export(plan, tmp_path, to="s3://photos/out")
    assert "a-secret" not in str(failure.value)
    done = [name for name in names_in(store) if name.endswith(".tar")]
    assert len(done) == 3 and not (tmp_path / "dataset" / SHARDED_FILE).exists()
    store.fault = None
    store.asked.clear()
    export(plan, tmp_path, to="s3://photos/out")
    again = {path for method, path in store.asked if method == "PUT"}
    assert again and not any(name in path for name in done for path in again)
    assert len(places_in(tmp_path)) == 60


def test_parquet_shards_are_of_plain_parts(plan: pl.DataFrame, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(plan, tmp_path, "parquet", shard_bytes=10**9)
    (name,) = [name for name in bytes_in(tmp_path) if name.startswith("train/")]
    file = parquet.ParquetFile(io.BytesIO((tmp_path / "dataset" / name).read_bytes()))
    group = file.metadata.row_group(0)
    assert {group.column(n).compression for n in range(group.num_columns)} == {"UNCOMPRESSED"}
    assert not group.column(0).is_stats_set
    assert [field.name for field in file.schema_arrow] == ["image", "label", "id"]
