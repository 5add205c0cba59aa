"""What a run decides does not hang on the process that decides it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli import main
from tests.fakes import photos, sha256
from tests.second_process import in_another_process


def settings(workspace: str) -> str:
    return yaml.safe_dump({
        "source": ["photos", "photos/*_01?.png", "more/*.png"], "workspace": workspace,
        # So many images of plain colors make one another sure: only such a limit leaves doubts.
        "teacher": "pocket", "label": {"min_confidence": 0.9999},
        "ontology": {"a red apple": "red", "a green leaf": "green", "a blue cup": "blue",
                     "a yellow banana": "yellow", "a gray stone": "gray"},
    }, sort_keys=False)  # fmt: skip


def left_in(run: Path) -> dict[str, str]:
    """What a run leaves for others to read, by content."""
    files = [run / name for name in ("labels.parquet", "dataset.parquet")]
    files += [path for path in (run / "dataset").rglob("*") if path.is_file()]
    return {str(path.relative_to(run)): sha256(path) for path in [*files, run / "review.csv"]}


def test_another_process_labels_and_splits_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos", {"red": 14, "green": 14, "blue": 14, "yellow": 14, "gray": 14})
    photos(tmp_path / "more", {"red": 4, "blue": 4}, start=50)
    for name in ("here", "there"):
        (tmp_path / f"{name}.yaml").write_text(settings(name))
    done = CliRunner().invoke(main, ["label", "--config", "here.yaml"])
    assert done.exit_code == 0, done.stderr
    said = in_another_process("-m", "pipeline.cli", "label", "--config", "there.yaml", "--json")
    # The other one knows the same teacher by the same name: nothing is embedded twice.
    assert json.loads(said)["label"]["from_cache"] == 78
    found = left_in(tmp_path / "here")
    assert found == left_in(tmp_path / "there")
    plan = pl.read_parquet(tmp_path / "here" / "dataset.parquet")
    # There was something to decide: several splits and classes, and images in doubt.
    assert plan["split"].n_unique() == 3 and plan["class"].n_unique() > 2
    doubtful = (tmp_path / "here" / "review.csv").read_text().splitlines()[1:]
    assert 0 < len(doubtful) < 60
