from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import WorkspaceError
from pipeline.files import fingerprint, replacing
from pipeline.records import TRUTH, read_table, table, write_table
from pipeline.run.workspace import Workspace


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as aside:
        aside.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with replacing(path) as aside:
        aside.write_text("new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    for content in ("one", "two"):
        with replacing(folder) as aside:
            aside.mkdir()
            (aside / content).write_text(content)
    assert [entry.name for entry in folder.iterdir()] == ["two"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


def test_the_second_process_is_refused_and_a_kill_frees_the_lock(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from pipeline.run.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])).locked(): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(WorkspaceError, match="in use"), Workspace(tmp_path).locked():
            pass
        other.kill()
        other.wait()
    with Workspace(tmp_path).locked():
        pass


def test_a_missing_or_foreign_table_says_which_command_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    with pytest.raises(WorkspaceError, match="clip2yolo label"):
        read_table(path, TRUTH, "label")
    path.write_bytes(b"not parquet")
    with pytest.raises(WorkspaceError, match="cannot be read"):
        read_table(path, TRUTH, "label")
    write_table(path, pl.DataFrame({"other": [1]}))
    with pytest.raises(WorkspaceError, match="cannot be read"):
        read_table(path, TRUTH, "label")
    rows = table([{"id": "1", "path": "p", "class": "c"}], TRUTH)
    write_table(path, rows)
    assert read_table(path, TRUTH, "label").equals(rows)


def test_fingerprints_tell_values_apart() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint(1) != fingerprint("1")
