"""An audit in a whole run: what was answered trains nothing, and evaluation takes it for truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from tests.packing_line import settings, write_config

ANSWERS = 40


def clip2yolo(*words: str) -> Any:
    done = CliRunner().invoke(main, [*words, "--config", "run.yaml", "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


def test_what_was_audited_is_held_out_and_judges_everybody(
    tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path / "cache"))
    shutil.copytree(sample, tmp_path / "sample")
    known = settings({"distill": "hard", "epochs": 2})
    del known["truth"], known["pool_truth"]
    write_config(tmp_path, known)

    for stage in ("label", "train"):
        clip2yolo(stage)
    before, warned = clip2yolo("evaluate")
    assert before["student"]["accuracy"] is None and "`clip2yolo audit`" in warned

    clip2yolo("audit", "--answers", str(ANSWERS))
    truth = {
        Path(path).name: name
        for path, name in pl.read_csv("sample/pool_truth.csv").select("path", "class").iter_rows()
    }
    sheet = pl.read_csv("run/audit.csv", infer_schema=False)
    names = [truth[Path(path).name] for path in sheet["path"]]
    sheet.with_columns(pl.Series("class", names)).write_csv("run/audit.csv")
    found, _ = clip2yolo("audit")
    assert found["answered"] == ANSWERS and found["labels"]["accuracy"]["low"] > 0.3
    assert found["student"] is None and "has learned from" in " ".join(found["notes"])

    clip2yolo("label")
    audited = set(sheet["id"])
    assert not audited & set(pl.read_parquet("run/dataset.parquet")["id"])
    assert "other labels than these" in " ".join(clip2yolo("audit")[0]["notes"])
    _, warned = clip2yolo("evaluate")  # the student is still the one that has learned from them
    assert "they cannot judge it" in warned

    clip2yolo("train")
    after, _ = clip2yolo("evaluate")
    assert after["held_out"]["source"] == "the audit"
    held_out = after["student"]["accuracy"]["n"]
    assert 0 < held_out <= ANSWERS and after["teacher"]["accuracy"]["n"] == held_out
    assert after["labels"]["accuracy"]["n"] > 0
    # The audit judges the student by the same images: those that look like none it has learned.
    found, _ = clip2yolo("audit")
    assert (
        found["student"]["accuracy"]["n"]
        == held_out
        == ANSWERS - sum(after["held_out"]["excluded"].values())
    )
    assert held_out < ANSWERS
    assert "so the student is judged by the" in " ".join(found["notes"])
