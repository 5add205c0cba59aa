"""A student is asked in whichever format it is, by the same commands."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.export.proved import FILE, proved_exports
from pipeline.student.kept import Students
from pipeline.student.unlike import NONE
from tests.fakes import photos, sha256
from tests.films import write_video
from tests.tiny_student import LESSONS

FORMS = ["run", "run/student", "run/student/weights.pt", "run/exports/onnx"]
FORMS += ["run/exports/onnx/model.onnx"]


def clip2yolo(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def answer(*words: str) -> Any:
    done = clip2yolo(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run.yaml, and its run with a student that was exported and evaluated."""
    pytest.importorskip("onnx", reason="needs onnx")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    here = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setenv("CLIP2YOLO_CACHE", str(here / "cache"))
        photos(here / "photos", {"red": 40, "blue": 40, "green": 40})
        for name in ("red", "blue", "green"):
            photos(here / "labeled" / name, {name: 6}, start=500)
        photos(here / "labeled" / "nothing", {"yellow": 4}, start=500)
        settings = {
            "source": "photos", "truth": "labeled", "workspace": "run",
            "teacher": {"model": "pocket", "device": "cpu"},
            "ontology": {"a red box": "red", "a blue cup": "blue", "a green leaf": "green",
                         "an empty table": "nothing"},
            "background": {"class": "nothing", "keep": False},
            "label": {"min_confidence": 0.0},
            "dataset": {"near_duplicate": None},
            "student": {"model": "yolov8n-cls.yaml", "imgsz": 32, "epochs": 8, "batch": 16,
                        "workers": 0, "device": "cpu", "distill": "hard", "train": LESSONS,
                        "precision": "fp32"},
            "export": ["onnx"],
            "evaluate": {"latency_images": 8, "cold_starts": False},
        }  # fmt: skip
        (here / "run.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        done = clip2yolo("run", "--config", "run.yaml")
        assert done.exit_code == 0, done.output
    return here


@pytest.fixture
def folder(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to be read."""
    monkeypatch.chdir(finished)
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(finished / "cache"))
    return finished


@pytest.fixture
def copy(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to be changed."""
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path / "copy" / "cache"))
    return tmp_path / "copy"


def contents(folder: Path) -> dict[str, str]:
    return {str(path): sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_classify_asks_any_format(folder: Path) -> None:
    pictures = sorted(map(str, photos(folder / "asked", {"red": 2, "green": 1, "yellow": 1})))
    exact = ["--precision", "fp32"]  # as exports are
    first, *others = (
        answer("classify", *pictures, "--student", form, *([] if "exports" in form else exact))
        for form in FORMS
    )
    assert {one["none"] for one in first} == {True, False}
    for found in others:
        for one, other in zip(first, found, strict=True):
            assert (other["image"], other["none"]) == (one["image"], one["none"])
            assert other["unlike"] == pytest.approx(one["unlike"], abs=1e-3)
            shares = [
                {row["class"]: row["probability"] for row in x["answers"]} for x in (one, other)
            ]
            assert shares[1] == pytest.approx(shares[0], abs=1e-3)
    plain = answer("classify", pictures[0], "--student", "run/exports/onnx", "--reject", "none")
    assert set(plain[0]) == {"image", "answers"}


def test_watch_asks_any_format(folder: Path) -> None:
    film = str(write_video(folder / "film.mp4", ["red"] * 12 + ["yellow"] * 12 + ["blue"] * 12))

    def course(*words: str) -> list[str]:
        done = clip2yolo("watch", *words, "--config", "run.yaml", "--csv")
        assert done.exit_code == 0, done.output
        return [row["class"] for row in csv.DictReader(io.StringIO(done.stdout))]

    own = course(film, "--student")
    assert own[0] == "red" and own[-1] == "blue" and NONE not in own
    assert course("--student", film) == own  # the film's name is no student
    for form in FORMS[1:]:
        assert course(film, "--student", form) == own
    refused = course(film, "--student", "run/exports/onnx", "--reject", "0.01")
    assert NONE in refused and refused == course(film, "--student", "--reject", "0.01")


@pytest.mark.parametrize("form", FORMS[2:4])
def test_evaluate_asks_any_format_about_the_same_images(folder: Path, form: str) -> None:
    before = contents(folder / "run")
    found = answer("evaluate", "--config", "run.yaml", "--student", form)
    own = json.loads((folder / "run" / "evaluation.json").read_text())["student"]
    assert found["images"] == found["accuracy"]["n"] == own["accuracy"]["n"]
    assert found["accuracy"] == own["accuracy"] and found["agreement"] == own["agreement"]
    assert found["macro_f1"] == pytest.approx(own["macro_f1"])
    assert found["calibration_error"] == pytest.approx(own["calibration_error"], abs=1e-3)
    assert found["same"]["value"] == 1 and found["against"]["difference"]["value"] == 0
    assert found["rejection"]["turned_away"]["n"] == 4
    said = clip2yolo("evaluate", "--config", "run.yaml", "--student", form, "--reject", "none")
    assert "Both answer alike on 100.0%" in said.stdout and "turns away" not in said.stdout
    assert contents(folder / "run") == before


def test_a_worse_student_is_told_of(copy: Path) -> None:
    other = copy / "other"
    shutil.copytree(copy / "run" / "student", other)
    import torch

    checkpoint = torch.load(other / "weights.pt", weights_only=False)
    head = checkpoint["model"].model[-1].linear
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
    torch.save(checkpoint, other / "weights.pt")
    found = answer("evaluate", "--config", "run.yaml", "--student", "other")
    answers = pl.read_parquet(copy / "run" / "answers.parquet")
    always = sorted({"red", "blue", "green"})[0]
    assert found["accuracy"]["value"] == (answers["truth"] == always).mean() < 0.5
    assert found["against"]["difference"]["high"] < 0
    assert found["same"]["value"] == (answers["student"] == always).mean()


def test_what_cannot_be_asked_is_one_sentence(copy: Path) -> None:
    exported = copy / "run" / "exports" / "onnx"
    shutil.copyfile(exported / "model.onnx", copy / "alone.onnx")
    shutil.copytree(exported, copy / "foreign")
    labels = json.loads((copy / "foreign" / "labels.json").read_text())
    labels["classes"][0] = "<b>pear</b>"
    (copy / "foreign" / "labels.json").write_text(json.dumps(labels))
    (exported / "model.onnx").write_bytes(b"damaged")
    for place, words in (
        ("alone.onnx", "without the labels.json"),
        ("nowhere", "does not exist"),
        ("photos", "holds no student"),
        ("run/exports/onnx", "is not the file that was proved"),
    ):
        for command in (
            ("classify", "photos", "--student", place),
            ("watch", "film.mp4", "--student", place, "--config", "run.yaml"),
        ):
            done = clip2yolo(*command)
            assert done.exit_code == 1 and words in done.stderr, (command, done.output)
            assert done.stderr.startswith("error: ") and "Traceback" not in done.output
    for words, says in (
        (("--student", "foreign"), "knows classes that the ontology lacks (<b>pear</b>)"),
        (("--student", "run", "--reject", "2"), "a share between 0 and 1"),
        (("--reject", "auto"), "with `--student`"),
        (("--student", "run", "--against", "run"), "not both"),
    ):
        done = clip2yolo("evaluate", "--config", "run.yaml", *words)
        assert done.exit_code != 0 and says in done.stderr, (words, done.output)


def test_promotion_records_what_was_proved(copy: Path) -> None:
    students = Students(copy / "run" / "students")
    assert students.promoted is not None
    recorded = json.loads((students.promoted / FILE).read_text())
    assert [(one["name"], one["format"], one["precision"]) for one in recorded] == [
        ("onnx", "onnx", "fp32")
    ]
    (found,) = answer("promote", "--config", "run.yaml")["exports"]
    proof = json.loads((copy / "run" / "exports" / "onnx" / "proof.json").read_text())
    assert found["sentence"] == recorded[0]["sentence"] == proof["sentence"]
    assert Path(found["folder"]).name == "onnx"
    shown = clip2yolo("promote", "--config", "run.yaml").stdout
    assert f"Proved: {proof['sentence']} It lies in " in shown
    # A file that is not the one that was proved proves nothing, and the record stays.
    (copy / "run" / "exports" / "onnx" / "model.onnx").write_bytes(b"damaged")
    shown = clip2yolo("promote", "--config", "run.yaml").stdout
    assert f"Proved earlier: {proof['sentence']} `clip2yolo export` makes it again." in shown
    (students.promoted / FILE).write_text("spoilt")
    assert answer("promote", "--config", "run.yaml")["exports"] == []


def test_exports_of_another_student_are_not_this_ones(copy: Path) -> None:
    exports, student = copy / "run" / "exports", copy / "run" / "student"
    assert [one.name for one in proved_exports(exports, student)] == ["onnx"]
    with (student / "weights.pt").open("ab") as file:
        file.write(b"another")
    assert proved_exports(exports, student) == []
    proof = exports / "onnx" / "proof.json"
    labels = json.loads((exports / "onnx" / "labels.json").read_text())
    labels["student"] = sha256(student / "weights.pt")
    (exports / "onnx" / "labels.json").write_text(json.dumps(labels))
    assert [one.name for one in proved_exports(exports, student)] == ["onnx"]
    proof.write_text(json.dumps(json.loads(proof.read_text()) | {"passed": False}))
    assert proved_exports(exports, student) == []
