"""Shards in a store are fetched once, and not in every epoch; the cache shows them and lets go."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from click.testing import CliRunner

from pipeline import stages
from pipeline.cli import main
from pipeline.config import Config, parse_config
from pipeline.dataset.nearby import brought_here, clear_shards, kept_shards
from pipeline.dataset.sharded import Sharded, read_sharded
from pipeline.errors import SourceError, WorkspaceError
from pipeline.files import cache_dir
from pipeline.records import DATASET, read_table
from pipeline.run.workspace import Workspace
from pipeline.storage.reading import read_each
from tests.fakes import Told
from tests.stores import Store, s3_store

TO = "s3://photos/out"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with s3_store(monkeypatch) as served:
        yield served


def config_of(here: Path, **dataset: Any) -> Config:
    student = {"imgsz": 32, "epochs": 3, "batch": 16, "workers": 0, "rounds": 1, "device": "cpu"}
    known = yaml.safe_load((here / "run.yaml").read_text())
    known["dataset"] |= dataset
    return parse_config(known | {"student": student}, here / "run.yaml")


@pytest.fixture
def away(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> Config:
    """A labeled run whose dataset lies in a store."""
    shutil.copytree(colors, tmp_path / "c")
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path / "c" / "cache"))
    config = config_of(tmp_path / "c", format="webdataset", shard_size="20kB", to=TO)
    stages.label(config)
    return config


def sharded(config: Config) -> Sharded:
    found = read_sharded(Workspace(config.workspace))
    assert found is not None
    return found


def gets(store: Store) -> list[str]:
    """Shards that were asked for, in part or whole."""
    return [path for method, path in store.asked if method == "GET" and path.endswith(".tar")]


def weights(config: Config) -> dict[str, torch.Tensor]:
    place = Workspace(config.workspace).student / "weights.pt"
    return torch.load(place, weights_only=False)["model"].state_dict()  # type: ignore[no-any-return]


def test_a_student_fetches_each_shard_once_and_is_the_same(away: Config, store: Store) -> None:
    plan = read_table(Workspace(away.workspace).dataset_table, DATASET, "label")
    learned = {
        name for name in sharded(away).table["shard"].unique() if not name.startswith("test/")
    }
    store.asked.clear()
    stages.train(away, Told())
    assert len(gets(store)) == len(learned)  # though there were three epochs
    (kept,) = kept_shards()
    assert kept.shards == len(learned) and kept.folder.is_relative_to(cache_dir() / "datasets")
    taught = weights(away)
    # Another student, the same dataset: nothing is fetched.
    Workspace(away.workspace).student.rename(away.workspace / "before")
    store.asked.clear()
    stages.train(away)
    assert gets(store) == []
    found = weights(away)
    assert [name for name in taught if not torch.equal(taught[name], found[name])] == []
    # Every image is its own bytes, wherever it is read.
    places = brought_here(sharded(away), Told())
    assert places.keys() == set(plan["file"])
    there = read_each([str(place) for place in sharded(away).places().values()])
    assert [*read_each([str(place) for place in places.values()])] == [*there]
    assert {file for file, place in places.items() if str(place).startswith("s3:")} == set(
        plan.filter(pl.col("split") == "test")["file"]
    )


def test_what_is_damaged_or_of_no_use_is_not_read(away: Config, store: Store) -> None:
    dataset = sharded(away)
    before = brought_here(dataset, Told())
    (kept,) = kept_shards()
    cut, *others = sorted(kept.folder.rglob("*.tar"))
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-1])
    (kept.folder / "train" / "000000-0123456789abcdef.tar").write_bytes(b"of an earlier dataset")
    store.asked.clear()
    assert brought_here(dataset, Told()) == before
    assert len(gets(store)) == 1 and cut.read_bytes() == whole
    assert sorted(kept.folder.rglob("*.tar")) == [cut, *others]


def test_a_copy_that_fails_goes_on_where_it_was(away: Config, store: Store) -> None:
    dataset = sharded(away)
    total = len({name for name in dataset.table["shard"] if not name.startswith("test/")})

    def fault(method: str, path: str, times: int) -> str | None:
        last = path.endswith(max(name for name in dataset.table["shard"] if "train/" in name))
        return "404" if method == "GET" and last else None

    store.fault = fault
    with pytest.raises(SourceError, match=r"s3://photos/out/train/.* cannot be fetched: No such"):
        brought_here(dataset, Told())
    store.fault = None
    done = list((cache_dir() / "datasets").rglob("*.tar"))
    assert len(done) < total
    store.asked.clear()
    brought_here(dataset, Told())
    assert len(gets(store)) == total - len(done)
    assert not list((cache_dir() / "datasets").rglob(".*"))  # nothing half


def test_a_shard_that_was_changed_is_refused(away: Config, store: Store) -> None:
    dataset = sharded(away)
    name = min(name for name in dataset.table["shard"] if name.startswith("train/"))
    store.put(f"out/{name}", b"another")
    with pytest.raises(
        WorkspaceError, match=r"has 7 bytes and had .* was changed\. Run `clip2yolo"
    ):
        brought_here(dataset, Told())
    assert not (kept_shards()[0].folder / name).exists()


def test_without_room_the_store_is_read_and_said(away: Config) -> None:
    small = sharded(away)
    vast = replace(small, table=small.table.with_columns(shard_bytes=pl.lit(10**15)))
    told = Told()
    assert brought_here(vast, told) == small.places()
    assert any("CLIP2YOLO_CACHE" in one and TO in one for one in told.warned)
    assert kept_shards() == [] or kept_shards()[0].shards == 0


def test_the_cache_shows_them_and_lets_them_go_before_vectors(away: Config) -> None:
    brought_here(sharded(away), Told())
    (kept,) = kept_shards()
    told = json.loads(CliRunner().invoke(main, ["cache", "--json"]).stdout)
    assert told["datasets"] == [
        {"folder": str(kept.folder), "shards": kept.shards, "size": kept.size, "used": kept.used}
    ]
    vectors = sum(entry["size"] for entry in (*told["teachers"], *told["sentences"]))
    shown = CliRunner().invoke(main, ["cache", "--down-to", f"{vectors / 1000 + 1:.3f}KB"])
    assert f"Removed {kept.shards} fetched shards" in shown.stdout
    after = json.loads(CliRunner().invoke(main, ["cache", "--json"]).stdout)
    assert after["datasets"] == [] and after["teachers"] == told["teachers"]
    brought_here(sharded(away), Told())
    (again,) = kept_shards()
    assert again.shards == kept.shards
    then = time.time() - 90 * 86_400
    os.utime(again.folder, (then, then))
    assert clear_shards(unused_for=100 * 86_400) == []
    assert [one.folder for one in clear_shards(unused_for=30 * 86_400)] == [kept.folder]


def test_a_dataset_in_a_folder_is_not_copied(colors: Path, tmp_path: Path) -> None:
    shutil.copytree(colors, tmp_path / "c")
    config = config_of(tmp_path / "c", format="parquet", to="../shards")
    stages.label(config)
    assert brought_here(sharded(config), Told()) == sharded(config).places()
    assert kept_shards() == []
