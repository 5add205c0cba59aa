from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from pipeline import __version__
from pipeline.errors import WorkspaceError
from pipeline.files import fingerprint, replacing, write_json, write_text
from pipeline.records import TRUTH, read_table, streamed_table, table, write_table
from pipeline.run.workspace import Workspace
from pipeline.student import TrainResult
from pipeline.student.stage import TRAIN


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


def test_a_fingerprint_stays_the_same_from_version_to_version() -> None:
    """Another value would make every stage of every finished run out of date."""
    # The SHA-256 of: [{"a": [1, "ü", null], "b": 0.5}, "x", true, "/p"]
    golden = "72b8115e7ef005d582c30af80d359899ba580abdd2153a3665e00030915c75d1"
    assert fingerprint({"b": 0.5, "a": [1, "ü", None]}, "x", True, Path("/p")) == golden
    assert fingerprint({"a": (1, "ü", None), "b": 0.5}, "x", True, "/p") == golden
    inner = {"d": {"f": 1, "e": 2}}
    assert fingerprint(inner) == fingerprint({"d": {"e": 2, "f": 1}})
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert fingerprint("a", "b") != fingerprint(["a", "b"])
    assert fingerprint("\udce4") != fingerprint("?")  # a file name that is no UTF-8


def test_an_error_leaves_a_folder_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "one").write_text("one")
    with pytest.raises(ZeroDivisionError), replacing(folder) as aside:
        aside.mkdir()
        (aside / "two").write_text("half")
        raise ZeroDivisionError
    assert [entry.name for entry in folder.iterdir()] == ["one"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


def test_what_was_never_written_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_written_aside_keeps_its_suffix_and_needs_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.tar.gz"
    with replacing(path) as aside:
        assert aside.name == "a.tar.gz" and aside != path
        aside.write_text("new")
        assert not path.exists()
        # In the same folder, so that renaming stays on one file system, and hidden meanwhile.
        (holder,) = path.parent.iterdir()
        assert holder.name.startswith(".a.tar.gz.") and aside.parent == holder
    assert path.read_text() == "new"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.tar.gz"]


def test_text_and_json_are_written_for_people_and_machines(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "é\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\n"
    write_json(tmp_path / "a.json", {"b": "é", "a": [None, 1.5]})
    assert (tmp_path / "a.json").read_text("utf-8") == (
        '{\n  "b": "é",\n  "a": [\n    null,\n    1.5\n  ]\n}\n'
    )
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))  # no other program would read that
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["a"] == [None, 1.5]


RESULT = TrainResult(3, 0.5, 60, 1000, 2000, ["a", "b"])


def test_a_stamp_says_what_when_and_by_which_version(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert TRAIN.stamp(workspace) is None
    made = TRAIN.finish(workspace, "x", RESULT, 1.23456)
    stamp = TRAIN.stamp(workspace)
    assert stamp == made and stamp is not None
    assert (stamp.stage, stamp.digest, stamp.seconds) == ("train", "x", 1.235)
    assert stamp.counts == RESULT and not stamp.skipped
    assert stamp.versions == {"clip2yolo": __version__}
    finished = datetime.fromisoformat(stamp.finished)
    assert finished.utcoffset() == timedelta(0) and finished.microsecond == 0
    assert abs(datetime.now(timezone.utc) - finished) < timedelta(hours=1)


def test_a_stamp_with_a_field_more_or_that_is_no_text_is_none(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    TRAIN.finish(workspace, "x", RESULT, 0.0)
    file = tmp_path / "train.json"
    known = json.loads(file.read_text())
    for wrong in ({"later": 1}, {"digest": 7}, {"counts": {"epochs": 3}}, {"finished": None}):
        file.write_text(json.dumps(known | wrong))
        assert TRAIN.stamp(workspace) is None
    file.write_bytes(b"\xff\xfe")
    assert TRAIN.stamp(workspace) is None
    file.write_text(json.dumps(known))
    assert TRAIN.stamp(workspace) is not None


def test_a_lock_is_refused_while_it_is_held_and_free_after_an_error(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "runs" / "line")  # it makes its folder
    with workspace.locked():
        with pytest.raises(WorkspaceError, match="line is in use by another"), workspace.locked():
            pass
        # Being refused must not set free what another one holds.
        with pytest.raises(WorkspaceError), Workspace(workspace.root).locked():
            pass
        with Workspace(tmp_path / "runs" / "other").locked():
            pass
    with pytest.raises(ZeroDivisionError), workspace.locked():
        raise ZeroDivisionError
    with workspace.locked():
        pass


def test_some_columns_of_a_table_come_in_the_order_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    schema = {"id": pl.String, "n": pl.Int64}
    write_table(path, pl.DataFrame({"other": [0], "n": [1], "id": ["a"]}))
    assert read_table(path, schema, "label").to_dict(as_series=False) == {"id": ["a"], "n": [1]}
    assert read_table(path, schema, "label").columns == ["id", "n"]
    assert read_table(path, schema, "label", ["n", "id"]).columns == ["n", "id"]
    assert read_table(path, schema, "label", ["n"]).columns == ["n"]
    # A narrower number is as good, what is no number is another table.
    write_table(path, pl.DataFrame({"id": ["a"], "n": [1]}, schema_overrides={"n": pl.UInt8}))
    assert read_table(path, schema, "label").schema == schema
    write_table(path, pl.DataFrame({"id": ["a"], "n": ["x"]}))
    with pytest.raises(WorkspaceError, match=r"Delete it and run `clip2yolo label` again"):
        read_table(path, schema, "label")
    assert read_table(path, schema, "label", ["id"])["id"].to_list() == ["a"]


def test_a_table_in_blocks_is_one_table_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    schema = {"n": pl.Int64}
    with streamed_table(path, schema) as writer:
        for start in range(0, 36, 3):  # twelve blocks: the tenth must not come after the first
            writer.add(pl.DataFrame({"n": range(start, start + 3)}, schema=schema))
        assert not path.exists()
    assert pl.read_parquet(path)["n"].to_list() == list(range(36))
    with pytest.raises(ZeroDivisionError), streamed_table(path, schema) as writer:
        writer.add(pl.DataFrame({"n": [1]}, schema=schema))
        raise ZeroDivisionError
    assert len(pl.read_parquet(path)) == 36
    with streamed_table(path, schema):
        pass  # nothing to write is a table without rows
    assert pl.read_parquet(path).schema == schema and len(pl.read_parquet(path)) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]


def test_a_table_that_cannot_be_written_says_so_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, pl.DataFrame({"n": [1]}))
    unwritable = pl.DataFrame({"n": [object()]}, schema={"n": pl.Object})
    with pytest.raises(WorkspaceError, match=r"t\.parquet cannot be written .* run the same"):
        write_table(path, unwritable)
    assert pl.read_parquet(path)["n"].to_list() == [1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]
