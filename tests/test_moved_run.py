"""A run in another checkout is the same run: its place is no reason to do anything again."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pipeline import stages
from pipeline.config import Config, parse_config
from tests.fakes import Told, photos


def config_in(folder: Path) -> Config:
    known = {
        "source": "shots", "truth": "truth",
        "ontology": {"an apple": "red", "a banana": "yellow"},
        "label": {"min_confidence": 0.0}, "dataset": {"near_duplicate": None},
        "student": {"distill": "hard",
                    "imgsz": 32, "epochs": 1, "batch": 8, "device": "cpu", "workers": 0},
        "evaluate": {"latency_images": 8, "cold_starts": False},
    }  # fmt: skip
    return parse_config(known, folder / "run.yaml")


def test_nothing_is_done_again_at_another_place(tmp_path: Path) -> None:
    first = tmp_path / "first"
    photos(first / "shots", {"red": 14, "yellow": 14})
    for name in ("red", "yellow"):
        photos(first / "truth" / name, {name: 4}, start=500)
    config = config_in(first)
    stages.label(config), stages.train(config), stages.evaluate(config)
    second = tmp_path / "elsewhere" / "second"
    second.parent.mkdir()
    first.rename(second)
    told, config = Told(), config_in(second)
    assert [stamp.skipped for stamp in stages.label(config, told)] == [True, True]
    assert told.said[0] == f"The run was moved here from {first}."
    assert stages.train(config).skipped and stages.evaluate(config).skipped
    assert [state.state for state in stages.status(config)] == ["done"] * 4
    for name in ("images", "labels", "dataset"):
        table = pl.read_parquet(config.workspace / f"{name}.parquet")
        assert table["path"].str.starts_with(str(second)).all()
    # Once it has settled in, nobody speaks of it.
    again = Told()
    stages.label(config, again)
    assert not any("moved here" in sentence for sentence in again.said)
