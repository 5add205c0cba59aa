"""Images in object stores, tar shards and Parquet files: found, read and labeled as files are."""

from __future__ import annotations

import hashlib
import io
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pipeline import stages
from pipeline.classify import classify_with_student
from pipeline.config import SourceConfig, load_config, parse_config
from pipeline.errors import ConfigError, SourceError
from pipeline.images.scan import scan
from pipeline.images.sources import find_sources
from pipeline.storage.address import Cell, Member, entry_of, name_of, shard_of
from pipeline.storage.reading import read_bytes, read_each
from pipeline.student import Student
from pipeline.terminal import TerminalListener
from tests.fakes import photos, picture
from tests.stores import Store, s3_store, tar_of

SECRET = "a-secret-that-nobody-may-see"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty bucket, `s3://photos`."""
    with s3_store(monkeypatch) as served:
        yield served


def png(name: str, number: int) -> bytes:
    data = io.BytesIO()
    picture(name, number).save(data, "PNG")
    return data.getvalue()


def some_files(count: int = 4) -> list[tuple[str, bytes]]:
    names = ("red", "blue", "green")
    return [
        (f"{number:06d}.png", png(names[number % len(names)], number)) for number in range(count)
    ]


def found_in(*paths: Path | str, **more: Any) -> pl.DataFrame:
    found = find_sources([SourceConfig(path=path, **more) for path in paths])
    return scan(found.images, states=found.states)


def test_places_say_what_they_mean() -> None:
    assert entry_of("s3://b/x.tar#a/1.jpg@1536+20") == Member("s3://b/x.tar", "a/1.jpg", 1536, 20)
    assert entry_of("/d/x.parquet#image[17]") == Cell("/d/x.parquet", "image", 17)
    for plain in ("/d/x.tar", "/d/a#b.jpg", "s3://b/a#b.jpg", "/d/x.tar#a@1", "/d/x.parquet#i"):
        assert entry_of(plain) is None
    assert shard_of("s3://b/x.tar") == ("s3://b/x.tar", None)
    assert shard_of("s3://b/x.parquet#image") == ("s3://b/x.parquet", "image")
    assert shard_of("/d/x.parquet#image[3]") is shard_of("/d/x.jpg") is None
    assert name_of("s3://b/x.tar#a/1.jpg@1536+20") == "1.jpg"
    assert name_of("/d/x.parquet#image[17]") == "x_image_17"


def test_what_lies_in_a_bucket_is_found_and_hashed_as_files_are(
    store: Store, tmp_path: Path
) -> None:
    photos(tmp_path / "p", {"red": 3, "blue": 2})
    (tmp_path / "p" / "notes.txt").write_text("x")
    (tmp_path / "p" / ".hidden.png").write_bytes(b"x")
    photos(tmp_path / "p" / "deep", {"green": 1})
    there, here = found_in(store.upload(tmp_path / "p", "p")), found_in(tmp_path / "p")
    assert there["id"].to_list() == here["id"].to_list() and len(there) == 6
    assert there["bytes"].to_list() == here["bytes"].to_list()
    assert there["path"][-1] == "s3://photos/p/red_002.png"
    pattern = found_in("s3://photos/p/*_00[01].png")
    assert [Path(path).name for path in pattern["path"]] == [
        "blue_000.png", "blue_001.png", "red_000.png", "red_001.png"
    ]  # fmt: skip
    assert len(found_in("s3://photos/p/red_000.png")) == 1


def test_an_object_is_fetched_once_and_not_again_until_it_changes(store: Store) -> None:
    for name, data in some_files(5):
        store.put(f"p/{name}", data)

    def gets() -> int:
        return sum(method == "GET" and ".png" in path for method, path in store.asked)

    def again(known: pl.DataFrame | None) -> pl.DataFrame:
        found = find_sources([SourceConfig(path="s3://photos/p")])
        states = {k: type(v)(v.size, v.changed_ns - 10**10) for k, v in found.states.items()}
        return scan(found.images, known, states=states)

    first = again(None)
    assert gets() == 5 and "HEAD" not in {method for method, _ in store.asked}
    assert again(first).equals(first) and gets() == 5
    changed = png("green", 99)
    store.put("p/000002.png", changed)
    second = again(first)
    assert gets() == 6
    assert second["id"][2] == hashlib.sha256(changed).hexdigest()


@pytest.mark.parametrize("where", ["here", "store"])
def test_tar_shards_are_taken_apart(where: str, tmp_path: Path, request: Any) -> None:
    files = some_files(5)
    more = [("000001.cls", b"1"), (".hidden.png", b"x"), ("deep/" + "ü" * 120 + ".png", b"none")]
    data = tar_of([*files[:2], *more, *files[2:]])
    if where == "here":
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "a-000.tar").write_bytes(data)
        source: Path | str = tmp_path / "s"
    else:
        request.getfixturevalue("store").put("s/a-000.tar", data)
        source = "s3://photos/s/"
    images = found_in(source)
    ok = images.filter(pl.col("status") == "ok")
    assert ok["id"].to_list() == [hashlib.sha256(one).hexdigest() for _, one in files]
    (bad,) = images.filter(pl.col("status") == "unreadable").iter_rows(named=True)
    assert "ü" in bad["path"] and "no image" in bad["reason"]
    assert [read_bytes(path) for path in ok["path"]] == [one for _, one in files]
    assert list(read_each(ok["path"].to_list(), 8)) == [one[:8] for _, one in files]


@pytest.mark.parametrize("where", ["here", "store"])
@pytest.mark.parametrize("kind", ["bytes", "struct"])
def test_columns_of_parquet_files_are_images(
    where: str, kind: str, tmp_path: Path, request: Any
) -> None:
    files = some_files(7)
    cells: list[Any] = [data for _, data in files]
    cells[3] = None
    if kind == "struct":
        cells = [{"bytes": cell, "path": "x"} for cell in cells]
    file = tmp_path / "part-0.parquet"
    pl.DataFrame({"image": cells, "n": range(7)}).write_parquet(file, row_group_size=3)
    source: Path | str = file
    if where == "store":
        request.getfixturevalue("store").put("t/part-0.parquet", file.read_bytes())
        source = "s3://photos/t/part-*.parquet"
    images = found_in(source, column="image")
    assert images["status"].to_list() == ["ok"] * 3 + ["unreadable"] + ["ok"] * 3
    assert "empty" in images["reason"][3]
    places = images["path"].to_list()
    assert read_bytes(places[6]) == files[6][1] and read_bytes(places[0]) == files[0][1]
    assert "The cell is empty" in str(list(read_each(places))[3])


def test_bad_columns_say_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pl.DataFrame({"image": [1, 2]}).write_parquet(file)
    assert "holds int64, and no image files" in found_in(file, column="image")["reason"][0]
    assert "no column `photo`; it has: image" in found_in(file, column="photo")["reason"][0]
    file.write_bytes(b"PAR1 nonsense")
    assert "damaged" in found_in(file, column="image")["reason"][0]
    with pytest.raises(SourceError, match="no Parquet file"):
        found_in(photos(tmp_path, {"red": 1})[0], column="image")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="There is no Parquet file in"):
        found_in(tmp_path / "empty", column="image")


def test_damaged_shards_are_told_with_what_could_be_read(tmp_path: Path) -> None:
    files = some_files(4)
    data = tar_of(files)
    first = 512 + -(-len(files[0][1]) // 512) * 512  # bytes of the first member
    spoilt = {
        "cut.tar": (data[:4000], "ends within it|end of data|no end mark|damaged"),
        "garbage.tar": (data[:first] + b"x" * 2048, f"nothing behind byte {first:,}"),
        "none.tar": (b"no tar at all" * 100, "damaged"),
        "empty.tar": (tar_of([("a.txt", b"x")]), "no image in it"),
        "zero.tar": (b"", "damaged"),
        "unmarked.tar": (data[:first], "no end mark"),
    }
    for name, (content, reason) in spoilt.items():
        (tmp_path / name).write_bytes(content)
        images = found_in(tmp_path / name)
        why = images.filter(pl.col("status") == "unreadable")["reason"].to_list()
        assert why and re.search(reason, " ".join(why)), (name, why)
        assert (images["status"] == "ok").sum() == (name[0] in "cgu")


def test_an_unchanged_shard_is_not_read_and_a_changed_one_is(tmp_path: Path) -> None:
    import os

    shard = tmp_path / "a.tar"
    shard.write_bytes(tar_of(some_files(3)))
    os.utime(shard, ns=(10**18, 10**18))
    first = found_in(shard)
    assert first["mtime_ns"].to_list() == [10**18] * 3
    shard.write_bytes(b"\0" * shard.stat().st_size)  # noticed only by who reads it
    os.utime(shard, ns=(10**18, 10**18))
    assert scan([str(shard)], first).equals(first)
    os.utime(shard, ns=(10**18 + 1, 10**18 + 1))
    assert scan([str(shard)], first)["status"].to_list() == ["unreadable"]


def test_shards_beside_pictures_are_left_out_and_said(tmp_path: Path) -> None:
    photos(tmp_path, {"red": 1})
    (tmp_path / "old.tar").write_bytes(tar_of(some_files(1)))
    found = find_sources([SourceConfig(path=tmp_path)])
    assert len(found.images) == 1
    assert found.sentences() == ["Left out: 1 tar shard (name them as a source of their own)."]


def test_manifests_may_name_addresses_and_lie_at_one(store: Store, tmp_path: Path) -> None:
    first, second = (store.put(f"p/{name}", data) for name, data in some_files(2))
    here = photos(tmp_path, {"yellow": 1})[0]
    table = tmp_path / "list.csv"
    table.write_text(f"path\n{first}\n{here.name}\ns3://photos/p/gone.png\n")
    images = found_in(table)
    assert dict(images.group_by("status").len().iter_rows()) == {"ok": 2, "unreadable": 1}
    assert images.filter(pl.col("status") != "ok")["reason"][0] == "There is no such file."
    away = store.put("p/list.csv", b"path\n000001.png\n../p/000000.png\n")
    assert sorted(found_in(away)["path"]) == [first, second]


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA:hidden-word@bucket/p", "s3://b/a.png?X-Amz-Signature=hidden-word",
        "az://b/a.png?sv=1&sig=hidden-word", "gs://b/a?X-Goog-Credential=hidden-word",
        "https://user:hidden-word@host/a.tar", "S3://b/hidden-word", "s3:///hidden-word",
    ],
)  # fmt: skip
def test_credentials_in_an_address_are_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    given = {"source": text, "ontology": {"a": "b"}}
    with pytest.raises(ConfigError) as refused:
        parse_config(given, tmp_path / "run.yaml")
    assert "hidden" not in str(refused.value) and "source" in str(refused.value)
    table = tmp_path / "list.csv"
    table.write_text(f"path\n{text}\n")
    with pytest.raises(SourceError) as refused_row:
        found_in(table)
    assert "hidden" not in str(refused_row.value) and "row 1" in str(refused_row.value)


def test_other_keys_than_the_source_take_no_address(tmp_path: Path) -> None:
    for key in ("truth", "workspace"):
        with pytest.raises(ConfigError, match=f"`{key}` begins with s3://"):
            parse_config(
                {"source": "a", "ontology": {"a": "b"}, key: "s3://b/x"}, tmp_path / "run.yaml"
            )
    with pytest.raises(ConfigError, match="copy them here"):
        parse_config(
            {"source": {"path": "s3://b/x", "fps": 1.0}, "ontology": {"a": "b"}},
            tmp_path / "r.yaml",
        )


def test_a_store_that_throttles_fails_and_cuts_loses_nothing(store: Store, tmp_path: Path) -> None:
    files = some_files(24)
    for name, data in files:
        store.put(f"p/{name}", data)
    store.put("s/a.tar", tar_of(files))
    store.fault = lambda method, path, times: (
        ("503", "500", "cut")[hash(path) % 3] if method == "GET" and times < 1 else None
    )
    wanted = [hashlib.sha256(data).hexdigest() for _, data in files]
    images = found_in("s3://photos/p")
    assert images["id"].to_list() == wanted and set(images["status"]) == {"ok"}
    store.fault = lambda method, path, times: ("cut", "503", "500", None)[min(times, 3)]
    members = found_in("s3://photos/s")
    assert members["id"].to_list() == wanted


def test_an_object_that_cannot_be_had_is_recorded_and_tried_again(store: Store) -> None:
    for name, data in some_files(4):
        store.put(f"p/{name}", data)
    store.fault = lambda method, path, times: (
        "404" if "000001" in path else "500" if "000002" in path else None
    )
    images = found_in("s3://photos/p")
    assert images["status"].to_list() == ["ok", "unreadable", "unreadable", "ok"]
    assert images["reason"][1] == "There is no such file."
    assert "cannot be read" in images["reason"][2]
    store.fault = None
    found = find_sources([SourceConfig(path="s3://photos/p")])
    assert set(scan(found.images, images, states=found.states)["status"]) == {"ok"}


def test_a_store_that_is_not_there_or_lets_nobody_in_is_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceError, match="no image in s3://photos/nothing"):
        found_in("s3://photos/nothing")
    with pytest.raises(SourceError, match="s3://nowhere/x"):
        found_in("s3://nowhere/x")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    import s3fs

    from pipeline.storage import filesystems

    filesystems.forget()
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(SourceError, match="no credentials"):
        found_in("s3://photos/p")


def test_no_message_holds_what_opens_a_store(store: Store) -> None:
    assert "nobody" not in str(SourceError(f"It answers: {SECRET} is wrong."))


def run_of(folder: Path, source: Any, **more: Any) -> Path:
    written = {
        "source": source, "workspace": "run", "teacher": {"model": "pocket", "device": "cpu"},
        "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green"},
        "label": {"min_confidence": 0.0, "refine": "none"}, "dataset": {"near_duplicate": None},
        **more,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(written))
    return folder / "run.yaml"


@pytest.mark.parametrize("form", ["objects", "tar", "parquet"])
def test_a_run_on_a_store_is_the_run_on_the_same_files(
    form: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = photos(tmp_path / "p", {"red": 14, "blue": 12, "green": 9})
    files = [(path.name, path.read_bytes()) for path in paths]
    if form == "objects":
        source: Any = store.upload(tmp_path / "p", "p")
    elif form == "tar":
        store.put("s/000.tar", tar_of(files[:20]))
        store.put("s/001.tar", tar_of(files[20:]))
        source = "s3://photos/s"
    else:
        made = io.BytesIO()
        pl.DataFrame({"image": [data for _, data in files]}).write_parquet(made)
        store.put("t/part-0.parquet", made.getvalue())
        source = {"path": "s3://photos/t", "column": "image"}
    time.sleep(2.1)  # what was written within two seconds is not believed to be unchanged
    here = run_of(tmp_path / "here", str(tmp_path / "p"))
    there = run_of(tmp_path / "there", source)
    for config in (here, there):
        stages.label(load_config(config), TerminalListener())
    told = capsys.readouterr()
    assert "35 usable" in told.err and SECRET not in told.out + told.err
    wanted = ["id", "class", "confidence", "probabilities", "decision"]
    tables = [
        pl.read_parquet(place.parent / "run" / "labels.parquet").sort("id")
        for place in (here, there)
    ]
    assert tables[0].select(wanted).equals(tables[1].select(wanted))
    exported = sorted((there.parent / "run" / "dataset").glob("*/*/*"))
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in exported} == set(
        tables[0]["id"]
    )
    asked = len(store.asked)
    labels, dataset = stages.label(load_config(there))
    assert labels.skipped and dataset.skipped
    assert all("list-type" in path for _, path in store.asked[asked:])


@pytest.mark.slow
def test_a_student_learns_from_a_store_and_is_evaluated_on_it(store: Store, tmp_path: Path) -> None:
    files = [
        (f"{name}_{number}.png", png(name, number))
        for name, count in {"red": 20, "blue": 20, "green": 16}.items()
        for number in range(count)
    ]
    store.put("s/000.tar", tar_of(files))
    settings = {
        "model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 1, "batch": 16, "workers": 0,
        "device": "cpu", "distill": "soft",
    }  # fmt: skip
    config = load_config(run_of(tmp_path, "s3://photos/s", student=settings))
    stages.label(config)
    stages.train(config)
    stamp = stages.evaluate(config)
    assert stamp.counts is not None
    assert (tmp_path / "run" / "report.html").is_file()
    store.put("p/one.png", files[0][1])
    student = Student.load(config.workspace / "student", "cpu")
    (answer,) = classify_with_student(["s3://photos/p"], student)
    assert answer.image == "s3://photos/p/one.png" and answer.problem is None
    with pytest.raises(SourceError, match="is a shard"):
        list(classify_with_student(["s3://photos/s"], student))
