"""Stages: when one is current, and that looking at a run changes nothing of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline import stages
from pipeline.cli import main
from pipeline.config import load_config, parse_config
from pipeline.errors import WorkspaceError
from pipeline.run.stage import Run, Stage, carry_out, next_command, stage_states
from tests.packing_line import half_of, settings, write_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Iterator[Path]:
    """A folder with `run.yaml`, its sample and a finished run; tests copy it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP2YOLO_CACHE", str(folder / "cache"))
        half_of(sample, folder)
        config = load_config(write_config(folder, settings({"distill": "hard"})))
        stages.label(config), stages.train(config), stages.evaluate(config)
        yield folder


@pytest.fixture
def folder(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run, put back as it was: paths in it are absolute, so it stays in its place."""
    spare = finished.with_name("spare")
    if not spare.exists():
        shutil.copytree(finished, spare)
    else:
        shutil.rmtree(finished)
        shutil.copytree(spare, finished)
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(finished / "cache"))
    monkeypatch.chdir(finished)
    return finished


def clip2yolo(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def states() -> dict[str, str]:
    return {one.stage: one.state for one in stages.status(load_config(Path("run.yaml")))}


def contents(root: Path) -> dict[str, tuple[str, int]]:
    """What lies in a folder: every file's hash and time, and every folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[path.relative_to(root).as_posix()] = digest, path.stat().st_mtime_ns
    return found


@pytest.mark.parametrize(("stage", "command", "files"), [
    ("label", "label", ["labels.parquet", "review.csv"]),
    ("dataset", "label", ["dataset.parquet", "dataset", "dataset/valid/apple"]),
    ("train", "train", ["student/weights.pt"]),
    ("evaluate", "evaluate", ["evaluation.json", "report.html", "report.md", "suspects.parquet"]),
])  # fmt: skip
def test_a_stage_whose_files_are_gone_is_not_done(
    folder: Path, stage: str, command: str, files: list[str]
) -> None:
    assert set(states().values()) == {"done"}
    paths, aside = [folder / "run" / name for name in files], folder / "aside"
    # Any one of them.
    for path in paths:
        path.rename(aside)
        now = states()
        names = list(now)
        assert [now[one] for one in names] == [
            "done" if names.index(one) < names.index(stage) else "out of date" for one in names
        ], path
        status = clip2yolo("status", "--config", "run.yaml", "--json")
        assert json.loads(status.stdout)["next"] == command
        aside.rename(path)
        assert set(states().values()) == {"done"}
    # What status says, `run --if-changed` does, for all of them at once.
    for path in reversed(paths):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = clip2yolo("run", "--if-changed", "--config", "run.yaml")
    assert done.exit_code == 0, done.stderr
    assert "Nothing is new" not in done.stdout
    assert all(path.exists() for path in paths) and set(states().values()) == {"done"}
    assert "Nothing is new" in clip2yolo("run", "--if-changed", "--config", "run.yaml").stdout


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"stage": "train"}', '{"counts": {"epochs": "many"}}']
)
def test_a_damaged_stamp_is_none(folder: Path, text: str) -> None:
    (folder / "run" / "train.json").write_text(text)
    assert states() == {
        "label": "done", "dataset": "done", "train": "not run", "evaluate": "out of date",
    }  # fmt: skip


def test_a_stamp_of_the_right_shape_with_a_wrong_value_is_none(folder: Path) -> None:
    stamp = folder / "run" / "label.json"
    known = json.loads(stamp.read_text())
    stamp.write_text(json.dumps(known | {"counts": known["counts"] | {"usable": "sixty"}}))
    assert states()["label"] == "not run"


def test_looking_changes_nothing(folder: Path) -> None:
    config = yaml.safe_load((folder / "run.yaml").read_text())
    # Another sampling and other images than the run was made from, so that there is much to do.
    film = str(folder / "sample" / "film" / "line.mp4")
    config["source"] = ["sample/images", {"path": film, "every": "2s"}]
    (folder / "other.yaml").write_text(
        yaml.safe_dump(config | {"workspace": "run"}, sort_keys=False)
    )
    before = contents(folder / "run")
    picture = str(next((folder / "sample" / "test").rglob("*.jpg")))
    for words in (
        ("status", "--config", "run.yaml"),
        ("status", "--config", "other.yaml"),
        ("ontology", "--config", "run.yaml"),
        ("ontology", "--config", "other.yaml"),
        ("classify", picture, "--config", "run.yaml"),
        ("classify", picture, "--student", "run"),
        ("watch", film, "--config", "run.yaml"),
        ("watch", film, "--student", "--config", "run.yaml"),
        ("upload", "--dry-run", "--config", "run.yaml"),
        ("promote", "--config", "run.yaml"),
    ):
        done = clip2yolo(*words)
        assert done.exit_code == 0, (words, done.stderr)
        assert contents(folder / "run") == before, words


def test_only_label_removes_frames_of_other_samplings(folder: Path) -> None:
    config = yaml.safe_load((folder / "run.yaml").read_text())
    film = str(folder / "sample" / "film" / "line.mp4")

    def write(every: str) -> None:
        config["source"] = {"path": film, "every": every}
        config["pool_truth"] = None
        (folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    write("2s")
    assert clip2yolo("label", "--config", "run.yaml").exit_code == 0
    (first,) = (folder / "run" / "frames").iterdir()
    write("1s")
    assert clip2yolo("ontology", "--config", "run.yaml").exit_code == 0
    assert states()["label"] == "out of date"
    assert [first] == list((folder / "run" / "frames").iterdir())
    assert clip2yolo("label", "--config", "run.yaml").exit_code == 0
    (second,) = (folder / "run" / "frames").iterdir()
    assert second != first and len(list(second.glob("*.jpg"))) > 15


def test_the_evaluation_kept_with_a_student_says_what_became_of_it(folder: Path) -> None:
    evaluation = json.loads((folder / "run" / "evaluation.json").read_text())
    outcome = evaluation["outcome"]
    assert outcome["promoted"] and outcome["student"] in outcome["reason"]
    kept = folder / "run" / "students" / outcome["student"]
    assert json.loads((kept / "evaluation.json").read_text()) == evaluation
    assert outcome["student"] in (kept / "report.md").read_text().replace("\\", "")


def test_an_evaluation_holds_the_drift_that_labeling_saw(folder: Path) -> None:
    stamp = folder / "run" / "label.json"
    known = json.loads(stamp.read_text())
    share = {"class_name": "apple", "new": 0.5, "earlier": 0.25}
    drifted = {
        "new": 30, "earlier": 60,
        "confidence": {
            "new": 0.5, "earlier": 0.75, "distance": 0.5, "p_value": 0.0, "changed": True,
        },
        "classes": {"distance": 0.25, "p_value": 0.5, "most": share, "changed": False},
        "vectors": None, "sentence": "They differ.",
    }  # fmt: skip
    known["counts"]["drift"] = drifted
    stamp.write_text(json.dumps(known))
    (folder / "run" / "evaluation.json").unlink()
    stages.evaluate(load_config(folder / "run.yaml"))
    assert json.loads((folder / "run" / "evaluation.json").read_text())["drift"] == drifted
    assert "They differ." in (folder / "run" / "report.html").read_text()


def test_how_many_students_are_kept_is_no_reason_to_train_again(folder: Path) -> None:
    config = yaml.safe_load((folder / "run.yaml").read_text())
    config["student"] |= {"keep": 2, "device": "cpu"}
    (folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert states()["train"] == "done"


@dataclass(frozen=True)
class Sum:
    """What the toy stage counts."""

    total: int


def toy(log: list[str]) -> Stage[int, Sum]:
    """A stage that doubles the number in a file, and says what it was asked to do."""

    def look(run: Run) -> int:
        log.append("look")
        file = run.workspace.root / "number"
        if not file.is_file():
            raise WorkspaceError("no number yet")
        return int(file.read_text())

    def work(run: Run, number: int) -> Sum:
        log.append("work")
        (run.workspace.root / "double").write_text(str(2 * number))
        return Sum(2 * number)

    return Stage(
        name="toy", command="double", counts=Sum, look=look, work=work,
        digest=lambda run, number: f"number {number}",
        leaves=lambda run: [run.workspace.root / "double"],
        summary=lambda counts: f"{counts.total} in all",
        prepare=lambda run: log.append("prepare"),
    )  # fmt: skip


def test_a_stage_runs_once_for_the_same_inputs(tmp_path: Path) -> None:
    known: dict[str, Any] = {"source": ".", "ontology": {"a": "a", "b": "b"}}
    run = Run.of(parse_config(known, tmp_path / "run.yaml"))
    number = run.workspace.root / "number"
    run.workspace.root.mkdir(parents=True)
    log: list[str] = []
    stage = toy(log)
    with pytest.raises(WorkspaceError, match="no number"):
        carry_out(stage, run)
    assert [one.state for one in stage_states([stage], run)] == ["not run"]
    number.write_text("21")
    log.clear()
    first = carry_out(stage, run)
    assert log == ["prepare", "look", "work"] and not first.skipped
    assert (first.counts, first.digest) == (Sum(42), "number 21")
    log.clear()
    again = carry_out(stage, run)
    assert log == ["prepare", "look"]
    assert again == replace(first, skipped=True, seconds=0.0) and again.skipped
    # Looking prepares nothing.
    log.clear()
    (state,) = stage_states([stage], run)
    assert log == ["look"]
    assert (state.state, state.summary, state.finished) == ("done", "42 in all", first.finished)
    assert next_command([state]) is None
    number.write_text("4")
    (state,) = stage_states([stage], run)
    assert state.state == "out of date" and next_command([state]) == "double"
    assert carry_out(stage, run).counts == Sum(8)
    (run.workspace.root / "double").unlink()
    assert stage_states([stage], run)[0].state == "out of date"
    assert not carry_out(stage, run).skipped
    # What an earlier step left is gone: it is to be made again, not an error.
    number.unlink()
    assert stage_states([stage], run)[0].state == "out of date"
