"""Exports as a stage of a run, and on the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result

from pipeline import stages
from pipeline.cli import main
from pipeline.config import load_config
from pipeline.errors import ConfigError
from pipeline.export.formats import FORMATS, Job
from pipeline.export.formats.onnx import Onnx
from pipeline.export.open import exports_digest, exports_of
from pipeline.run.workspace import Workspace


def clip2yolo(*words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", "run.yaml"])


def states() -> dict[str, str]:
    return {one.stage: one.state for one in stages.status(load_config(Path("run.yaml")))}


def settle(**changes: object) -> None:
    known = yaml.safe_load(Path("run.yaml").read_text())
    Path("run.yaml").write_text(yaml.safe_dump(known | changes, sort_keys=False))


class Shaken(Onnx):
    """ONNX whose weights were shaken on the way."""

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        import onnx
        from onnx import numpy_helper

        files = super().convert(job, folder)
        model = onnx.load(str(folder / files[0]))
        for weights in model.graph.initializer:
            values = numpy_helper.to_array(weights)
            if values.ndim == 2:  # of the last layer
                mixed = np.ascontiguousarray(np.roll(values, 1, axis=0))
                weights.CopyFrom(numpy_helper.from_array(mixed, weights.name))
        onnx.save(model, str(folder / files[0]))
        return files


def test_a_run_exports_and_proves(run_folder: Path) -> None:
    space = Workspace(run_folder / "run")
    assert states()["export"] == "not run"
    result = clip2yolo("export", "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["exports"]
    folder = Path(found["folder"])
    assert folder == space.exports / "onnx" and found["proved"] and not found["kept"]
    assert found["agreement"] == 1.0 and found["largest_difference"] < 1e-4
    proof = json.loads((folder / "proof.json").read_text())
    assert proof["passed"] and proof["truth"] and proof["unreadable"] == 0
    assert proof["images"] >= 24 and proof["accuracy"]["n"] == 24  # all of truth is held out
    assert proof["accuracy"] == proof["student_accuracy"]
    assert proof["none_agreement"] is None or proof["none_agreement"]["value"] == 1.0
    assert exports_of(space) == [folder] and states()["export"] == "done"
    again = clip2yolo("export", "--json")
    assert json.loads(again.stdout)["exports"] == [found]
    named = clip2yolo("export", "onnx", "--json")
    assert json.loads(named.stdout)["exports"][0]["kept"]


def test_run_exports_before_it_evaluates(run_folder: Path) -> None:
    result = clip2yolo("run")
    assert result.exit_code == 0, result.output
    assert "Exports" in result.stdout and "100.0%" in result.stdout
    assert states() == dict.fromkeys(["label", "dataset", "train", "export", "evaluate"], "done")
    assert "Nothing is new" in clip2yolo("run", "--if-changed").stdout
    (run_folder / "run" / "student" / "student.json").write_text("{")
    assert states()["export"] == "out of date"


def test_what_is_changed_is_made_again(run_folder: Path) -> None:
    space = Workspace(run_folder / "run")
    assert clip2yolo("export").exit_code == 0
    before = exports_digest(space)
    model = space.exports / "onnx" / "model.onnx"
    data = bytearray(model.read_bytes())
    data[-1] ^= 0xFF
    model.write_bytes(data)
    assert states()["export"] == "out of date"
    assert clip2yolo("export").exit_code == 0 and states()["export"] == "done"
    assert exports_digest(space) == before
    # Another student: its export is stale, said so, and made again where it is asked for.
    checkpoint = torch.load(space.weights, weights_only=False)
    with torch.no_grad():
        checkpoint["model"].model[-1].linear.bias += 0.25
    torch.save(checkpoint, space.weights)
    assert exports_of(space) == [] and states()["export"] == "out of date"
    settle(export=["torchscript"])
    other = clip2yolo("export")
    assert other.exit_code == 0 and "onnx is of an earlier student" in other.stderr
    assert [folder.name for folder in exports_of(space)] == ["torchscript"]


def test_one_that_answers_otherwise_fails(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Workspace(run_folder / "run")
    assert clip2yolo("export").exit_code == 0
    before = (space.exports / "onnx" / "proof.json").read_text()
    (space.exports / "onnx" / "labels.json").write_text("{}")  # so that it is made again
    monkeypatch.setitem(FORMATS, "onnx", Shaken())
    result = clip2yolo("export", "onnx", "torchscript")
    assert result.exit_code == 1 and "Traceback" not in result.output
    first, *worst = result.stderr[result.stderr.index("error: ") :].splitlines()
    assert "it must be 99.5%" in first and str(space.exports / "failed" / "onnx") in first
    assert len(worst) == 5 and all(".png: " in line and "the student" in line for line in worst)
    failed = json.loads((space.exports / "failed" / "onnx" / "proof.json").read_text())
    assert failed["passed"] is False and len(failed["worst"]) == 5
    # What was there is as it was, and the other format was made in spite of it.
    assert (space.exports / "onnx" / "proof.json").read_text() == before
    assert [folder.name for folder in exports_of(space)] == ["torchscript"]
    monkeypatch.undo()
    monkeypatch.chdir(run_folder)
    assert clip2yolo("export", "onnx").exit_code == 0
    assert not (space.exports / "failed" / "onnx").exists()


def test_int8_is_calibrated_on_the_runs_images(run_folder: Path) -> None:
    space = Workspace(run_folder / "run")
    result = clip2yolo("export", "onnx", "--precision", "int8", "--json")
    whole = (space.root / "student" / "weights.pt").stat().st_size
    failed = space.exports / "failed" / "onnx-int8"
    folder = failed if result.exit_code else space.exports / "onnx-int8"
    labels = json.loads((folder / "labels.json").read_text())
    proof = json.loads((folder / "proof.json").read_text())
    assert labels["precision"] == "int8" and proof["needed"] == 0.98
    assert proof["passed"] is (result.exit_code == 0)
    assert (folder / "model.onnx").stat().st_size < whole


def test_without_a_word_of_exports_there_is_no_such_stage(run_folder: Path) -> None:
    settle(export=[])
    assert "export" not in states()
    assert clip2yolo("export", "--json").exit_code == 0  # onnx, where nobody says otherwise
    assert Workspace(run_folder / "run").exports.joinpath("onnx", "proof.json").is_file()


def test_what_cannot_be_made_is_said_before_anything_runs(run_folder: Path) -> None:
    unknown = clip2yolo("export", "abacus")
    assert unknown.exit_code == 2 and "There is no format 'abacus'" in unknown.stderr
    settle(export=[{"format": "torchscript", "precision": "int8"}])
    with pytest.raises(ConfigError, match="not exported in int8"):
        stages.label(load_config(Path("run.yaml")))
    for wrong, said in (
        (["onnx", "onnx"], "twice"),
        ([{"format": "onyx"}], "'onnx'"),
        ([{"format": "onnx", "precision": "int4"}], "int8"),
    ):
        settle(export=wrong)
        with pytest.raises(ConfigError, match=said):
            load_config(Path("run.yaml"))


def test_the_list_says_what_each_format_needs(run_folder: Path) -> None:
    result = clip2yolo("export", "--list", "--json")
    rows = json.loads(result.stdout)
    assert {row["format"] for row in rows} == set(FORMATS)
    assert all(row["missing"] is None or row["missing"].endswith((".", "'")) for row in rows)
    assert clip2yolo("export", "--list").exit_code == 0


def test_without_a_student_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Path("run.yaml").write_text("source: photos\nontology: {a cat: cat, a dog: dog}\n")
    result = clip2yolo("export")
    assert result.exit_code == 1 and "clip2yolo label" in result.stderr
