"""A run whose dataset lies in shards: labeled, trained and looked at as one with folders."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from pipeline import stages
from pipeline.config import Config, load_config, parse_config
from pipeline.dataset.sharded import read_sharded
from pipeline.errors import ConfigError, WorkspaceError
from pipeline.evaluation.suspects import find_suspects
from pipeline.records import DATASET, read_table
from pipeline.run.stage import Run
from pipeline.run.workspace import Workspace
from tests.fakes import Told, photos

QUICK = {"imgsz": 32, "epochs": 1, "batch": 16, "workers": 0, "rounds": 1, "device": "cpu"}


@pytest.fixture
def here(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A labeled run with a folder dataset, to be changed."""
    shutil.copytree(colors, tmp_path / "c")
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path / "c" / "cache"))
    return tmp_path / "c"


def config_with(here: Path, **dataset: Any) -> Config:
    known = yaml.safe_load((here / "run.yaml").read_text())
    known["dataset"] |= dataset
    return parse_config(known | {"student": QUICK}, here / "run.yaml")


def read_files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def suspects_of(config: Config) -> pl.DataFrame:
    """What looks wrong to the student, who looks at the dataset where it lies."""
    space = Workspace(config.workspace)
    plan = read_table(space.dataset_table, DATASET, "label")
    found = find_suspects(Run.of(config), plan)
    space.suspects.unlink()  # nobody has claimed it
    return found


def test_the_run_is_the_same_from_shards(here: Path) -> None:
    folder, shards = config_with(here), config_with(here, format="webdataset", shard_size="20kB")
    space = Workspace(folder.workspace)
    stages.train(folder)
    plan = read_table(space.dataset_table, DATASET, "label")
    wanted, files = suspects_of(folder), read_files(space.dataset)
    (space.dataset / "notes.txt").write_text("mine")
    assert [one.state for one in stages.status(shards)][:2] == ["done", "out of date"]
    told = Told()
    label, dataset = stages.label(shards, told)
    assert label.skipped and not dataset.skipped
    assert all(stamp.skipped for stamp in stages.label(shards))
    assert read_table(space.dataset_table, DATASET, "label").equals(plan)
    names = read_files(space.dataset)
    assert {Path(name).suffix for name in names} == {".tar", ".json", ".txt"}
    # Of the same images in the same classes the student is the same, so that it stays.
    assert stages.train(shards).skipped
    assert suspects_of(shards).equals(wanted)
    # A shard that goes: the student's turn says so, and the next `label` writes it again.
    lost = min(name for name in names if name.endswith(".tar"))
    (space.dataset / lost).unlink()
    with pytest.raises(WorkspaceError, match=rf"{lost} is not as exported.*`clip2yolo label`"):
        stages.train(shards)
    assert not stages.label(shards)[1].skipped and read_files(space.dataset) == names
    # And back.
    stages.label(folder)
    assert read_files(space.dataset) == files | {"notes.txt": b"mine"}
    assert read_sharded(space) is None and stages.train(folder).skipped


def test_shards_elsewhere_are_found_and_moved_home(here: Path) -> None:
    away = config_with(here, format="parquet", to="../away")
    assert away.dataset.to == here.parent / "away"
    stages.label(away)
    there = read_files(here.parent / "away")
    assert {name.split("/")[0] for name in there} == {"train", "valid", "test", "shards.json"}
    space = Workspace(away.workspace)
    assert read_files(space.dataset) == {}
    found = read_sharded(space)
    assert found is not None and found.lacking() == []
    assert all(str(here.parent / "away") in str(place) for place in found.places().values())
    told = Told()
    stages.label(config_with(here, format="parquet"), told)
    assert read_files(space.dataset) == there == read_files(here.parent / "away")
    assert any(f"stay in {here.parent / 'away'}" in sentence for sentence in told.warned)


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        ({"to": "x"}, r"`to` and `shard_size` are for shards; add `format: webdataset`"),
        ({"shard_size": "1GB"}, r"`to` and `shard_size` are for shards"),
        ({"format": "parquet", "files": "link"}, r"`files: link` is for folders"),
        ({"format": "parquet", "shard_size": "1"}, r"'1' is no size; write it as 256MB"),
        ({"format": "parquet", "shard_size": "12 bytes"}, r"is no size"),
        ({"format": "parquet", "to": "ftp://x/y"}, r"`dataset.to` begins with ftp://"),
        ({"format": "parquet", "to": "s3://key:secret@x/y"}, r"holds a user, a key"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    tmp_path: Path, dataset: dict[str, Any], says: str
) -> None:
    known = {"source": "p", "ontology": {"a": "a", "b": "b"}, "dataset": dataset}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(known))
    with pytest.raises(ConfigError, match=says) as refused:
        load_config(tmp_path / "run.yaml")
    assert "secret" not in str(refused.value)


def test_a_dataset_in_its_own_source_is_refused(tmp_path: Path) -> None:
    photos(tmp_path / "p", {"red": 2})
    known = {
        "source": "p", "ontology": {"a": "a", "b": "b"},
        "dataset": {"format": "webdataset", "to": "p/shards"},
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"`dataset.to` lies in a source"):
        stages.label(parse_config(known, tmp_path / "run.yaml"))
