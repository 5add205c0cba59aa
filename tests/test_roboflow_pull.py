"""What people decided on Roboflow comes back, and the promoted student goes there."""

from __future__ import annotations

import json
import pickle
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ultralytics.nn.tasks import ClassificationModel

from pipeline.cli import main
from pipeline.student import Student
from pipeline.student.kept import Students
from tests.fake_roboflow import KEY, FakeProject, FakeRoboflow, fake_roboflow, talking_to
from tests.fakes import sha256
from tests.labeled_run import Photo, abstained, id_of, ledger_line, write_run


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRoboflow]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with fake_roboflow() as running, talking_to(running):
        running.projects["fruit"] = FakeProject(
            "fruit", "single-label-classification", versions=1, packed=[]
        )
        yield running


def call(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, [*words, "--config", "run.yaml"])
    assert done.exit_code == status, done.output
    assert KEY not in done.output
    return done


def pulled(server: FakeRoboflow, names: list[str]) -> dict[str, Any]:
    """Pull a version that holds files of these names."""
    server.projects["fruit"].packed = names
    found: dict[str, Any] = json.loads(call("pull", "--json").stdout)
    return found


def decisions(folder: Path) -> list[tuple[str, ...]]:
    """The rows of human.csv: stem and class, in their order."""
    table = pl.read_csv(folder / "run" / "human.csv", infer_schema=False)
    assert table.columns == ["path", "class", "id"]
    assert all(id_of(folder, Path(path).stem) == one for path, _, one in table.rows())
    return [(Path(path).stem, name) for path, name, _ in table.rows()]


def back(folder: Path, stem: str, tail: str = "_png.rf.0f1e2d.jpg") -> str:
    """The name under which an image comes back."""
    return f"{stem}-{id_of(folder, stem)[:12]}{tail}"


@pytest.mark.parametrize("name", [
    "{stem}-{id}_png.rf.0f1e2d3c4b.jpg",
    "{stem}-{id}_jpg.rf.AbC_d-9.jpg",
    "{stem}-{id}.png",
    "{stem}-{id}_png.jpg",
    "{stem}-{id}_png_jpg.rf.0f1e.jpg",
    "{stem}-{id}.png.jpg",
    "other stem_png-{id}_png.rf.0f.jpg",
    "shot-0123456789ab-{id}_png.rf.0f.jpg",  # the photo's own name ended like one of ours
    "IMG-0123456789ab_jpg.rf.x-{id}_jpg.rf.0f.jpg",  # it came from Roboflow before
    "shot-0123456789ab.v2-{id}_png.rf.0f.jpg",
])  # fmt: skip
def test_an_image_is_known_by_what_the_upload_put_into_its_name(
    tmp_path: Path, server: FakeRoboflow, name: str
) -> None:
    write_run(tmp_path, [Photo("a")])
    file = name.format(stem="a", id=id_of(tmp_path, "a")[:12])
    found = pulled(server, [f"train/blue/{file}"])
    assert found == {"version": 1, "images": 1, "decisions": 1, "strangers": 0}
    assert decisions(tmp_path) == [("a", "blue")]


def test_strangers_are_counted_and_what_is_no_image_of_a_split_is_not(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a", "red")])
    one = id_of(tmp_path, "a")
    found = pulled(server, [
        f"train/red/{back(tmp_path, 'a')}",
        "train/red/holiday.jpg", f"valid/red/x-{'0' * 12}.jpg", f"test/blue/a-{one[:11]}.jpg",
        f"train/red/a{one[:12]}.jpg", f"train/red/a-{one[:13]}.jpg",
        f"train/{back(tmp_path, 'a')}", f"holdout/blue/{back(tmp_path, 'a')}",
        f"{back(tmp_path, 'a')}", "train/README.txt", "train/green/",
        "train/green/folder/",
    ])  # fmt: skip
    assert found == {"version": 1, "images": 1, "decisions": 0, "strangers": 5}
    shown = call("pull").stdout
    assert shown == "Version 1: 0 decisions among 1 images; 5 images are not of this run.\n"


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_class_folders_may_lie_in_any_split_and_below_a_folder(
    tmp_path: Path, server: FakeRoboflow, split: str
) -> None:
    write_run(tmp_path, [Photo("a")])
    assert pulled(server, [f"fruit-1/{split}/blue/{back(tmp_path, 'a')}"])["decisions"] == 1


def test_one_image_of_one_class_twice_is_one_and_of_two_classes_is_refused(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a")])
    first, second = back(tmp_path, "a"), back(tmp_path, "a", "_png.rf.77.jpg")  # augmented
    assert pulled(server, [f"train/blue/{first}", f"train/blue/{second}"])["images"] == 1
    before = (tmp_path / "run" / "human.csv").read_bytes()
    server.projects["fruit"].packed = [f"train/blue/{first}", f"valid/red/{second}"]
    assert f"{second} has two classes: 'blue' and 'red'." in call("pull", status=1).stderr
    assert (tmp_path / "run" / "human.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("packed", "says"),
    [
        (["images/a.jpg"], "Version 1 holds no class folders. Was it a classification?"),
        (b"<html>later</html>", "What Roboflow sent is no zip file. Run again."),
    ],
)
def test_what_is_no_set_of_class_folders_is_refused(
    tmp_path: Path, server: FakeRoboflow, packed: Any, says: str
) -> None:
    write_run(tmp_path, [Photo("a")])
    server.projects["fruit"].packed = packed
    assert says in call("pull", status=1).stderr
    assert not (tmp_path / "run" / "human.csv").exists()


def test_only_what_differs_from_what_was_sent_is_a_decision(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    cases = {  # stem: class here, line of the ledger, class there, whether somebody decided it
        "as it went": ("red", ("done", "red"), "red", False),
        "corrected": ("red", ("done", "red"), "blue", True),
        "went as another, back as it is": ("red", ("done", "green"), "red", True),
        "went as another, back as it went": ("red", ("done", "green"), "green", False),
        "went bare": (None, ("done", None), "green", True),
        "labeled there before": ("red", ("annotated", "red"), "red", True),
        "labeled there as another": ("red", ("annotated", "red"), "blue", True),
        "unknown to the ledger, the same": ("red", None, "red", False),
        "unknown to the ledger, another": ("red", None, "blue", True),
        "unknown to the ledger, bare": (None, None, "blue", True),
    }
    write_run(tmp_path, [Photo(one, "red") if name else abstained(one)
                         for one, (name, *_) in cases.items()])  # fmt: skip
    ledger = tmp_path / "run" / "upload" / "ws--fruit.jsonl"
    ledger.parent.mkdir()
    ledger.write_text("".join(
        ledger_line(tmp_path, one, *line) for one, (_, line, *_) in cases.items() if line
    ))  # fmt: skip
    names = [f"train/{there}/{back(tmp_path, one)}" for one, (*_, there, _) in cases.items()]
    found = pulled(server, names)
    expected = [(one, there) for one, (*_, there, differs) in cases.items() if differs]
    assert decisions(tmp_path) == expected
    assert found == {"version": 1, "images": 10, "decisions": 7, "strangers": 0}


def test_decisions_of_earlier_versions_stay_unless_this_one_says_otherwise(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo(stem) for stem in "abc"])
    pulled(server, [f"train/blue/{back(tmp_path, 'a')}", f"train/blue/{back(tmp_path, 'b')}"])
    pulled(server, [f"train/green/{back(tmp_path, 'b')}", f"train/green/{back(tmp_path, 'c')}"])
    assert decisions(tmp_path) == [("a", "blue"), ("b", "green"), ("c", "green")]
    found = pulled(server, ["train/green/holiday.jpg"])
    assert found == {"version": 1, "images": 0, "decisions": 0, "strangers": 1}
    assert decisions(tmp_path) == [("a", "blue"), ("b", "green"), ("c", "green")]


def test_a_correction_that_is_taken_back_there_is_no_decision_any_more(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    cases = {  # stem: line of the ledger, class in the first version and the second, what is left
        "taken back": (("done", "red"), "blue", "red", None),
        "corrected otherwise": (("done", "red"), "blue", "green", "green"),
        "still corrected": (("done", "red"), "blue", "blue", "blue"),
        "not in the second": (("done", "red"), "blue", None, "blue"),
        "labeled there before": (("annotated", "red"), "blue", "red", "red"),
        "unknown to the ledger": (None, "blue", "red", "blue"),
    }
    write_run(tmp_path, [Photo(one) for one in cases])
    ledger = tmp_path / "run" / "upload" / "ws--fruit.jsonl"
    ledger.parent.mkdir()
    ledger.write_text("".join(
        ledger_line(tmp_path, one, *line) for one, (line, *_) in cases.items() if line
    ))  # fmt: skip
    pulled(server, [f"train/{name}/{back(tmp_path, one)}" for one, (_, name, *_) in cases.items()])
    assert dict(decisions(tmp_path)) == dict.fromkeys(cases, "blue")
    server.projects["fruit"].packed = [
        f"train/{name}/{back(tmp_path, one)}" for one, (*_, name, _) in cases.items() if name
    ]
    told = call("pull").stderr
    assert "1 decisions of earlier pulls were taken back there." in told
    left = {one: name for one, (*_, name) in cases.items() if name}
    assert dict(decisions(tmp_path)) == left
    assert "taken back" not in call("pull").stderr


def test_a_correction_that_was_sent_since_is_not_taken_back_by_itself(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a")])
    call("upload")
    pulled(server, [f"train/blue/{back(tmp_path, 'a')}"])
    write_run(tmp_path, [Photo("a", "blue", decision="human")])  # as labeling obeys
    call("upload", "--relabel")
    for _ in range(2):
        pulled(server, [f"train/blue/{back(tmp_path, 'a')}"])
        assert decisions(tmp_path) == [("a", "blue")]
    pulled(server, [f"train/red/{back(tmp_path, 'a')}"])
    assert decisions(tmp_path) == [("a", "red")]


def test_only_the_names_in_a_zip_are_read(tmp_path: Path, server: FakeRoboflow) -> None:
    write_run(tmp_path, [Photo("a")])
    bomb = BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"train/blue/{back(tmp_path, 'a')}", bytes(200 << 20))
    server.projects["fruit"].packed = bomb.getvalue()
    assert json.loads(call("pull", "--json").stdout)["decisions"] == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=6))),
       length=st.integers(0, 400))  # fmt: skip
def test_a_damaged_zip_is_no_traceback(
    tmp_path: Path, server: FakeRoboflow, cuts: list[tuple[int, bytes]], length: int
) -> None:
    write_run(tmp_path, [Photo("a")])
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"train/blue/{back(tmp_path, 'a')}", b"")
        archive.writestr("train/red/other.jpg", b"")
    data = bytearray(packed.getvalue())
    for at, with_what in cuts:
        data[-at : len(data) - at + len(with_what)] = with_what
    server.projects["fruit"].packed = bytes(data[: len(data) - length % 40])
    done = CliRunner().invoke(main, ["pull", "--config", "run.yaml"])
    assert isinstance(done.exception, SystemExit | None) and done.exit_code in (0, 1, 2)


def test_a_class_that_the_ontology_lacks_is_refused_and_nothing_is_written(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a"), Photo("b")])
    server.projects["fruit"].packed = [
        f"train/violet/{back(tmp_path, 'a')}", f"train/blue/{back(tmp_path, 'b')}",
    ]  # fmt: skip
    said = call("pull", status=2).stderr
    assert "Version 1 has the class 'violet', which the ontology does not have " in said
    assert "(red, green, blue). Add a prompt for it, or rename it on Roboflow." in said
    assert not (tmp_path / "run" / "human.csv").exists()
    # It does not matter where nobody decided it, or of an image that is not of this run.
    ledger = tmp_path / "run" / "upload" / "ws--fruit.jsonl"
    ledger.parent.mkdir()
    ledger.write_text(ledger_line(tmp_path, "a", "done", "violet"))
    assert pulled(server, [f"train/violet/{back(tmp_path, 'a')}"])["decisions"] == 0
    assert pulled(server, ["train/violet/holiday.jpg"])["strangers"] == 1


def test_the_version_that_is_named_or_else_the_newest_is_taken(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a")])
    fruit = server.projects["fruit"]
    fruit.versions, fruit.newest_first, fruit.packed = 11, True, ["train/red/holiday.jpg"]
    done = call("pull")
    assert "Version 11: " in done.stdout and "0 decisions of people in version 11." in done.stderr
    assert server.requests("GET /ws/fruit/11/folder") == 1
    assert json.loads(call("pull", "--version", "3", "--json").stdout)["version"] == 3
    assert server.requests("GET /ws/fruit/3/folder") == 1
    assert "no such version" in call("pull", "--version", "12", status=1).stderr
    call("pull", "--version", "0", status=2)


def test_pull_creates_no_project(tmp_path: Path, server: FakeRoboflow) -> None:
    write_run(tmp_path, [Photo("a")], project="pears")
    assert "has no project 'pears'" in call("pull", status=1).stderr
    assert list(server.projects) == ["fruit"]


# Students


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Checkpoints of two students that know nothing and differ."""
    paths = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = ClassificationModel("yolov8n-cls.yaml", nc=3, verbose=False)
        model.names = {0: "red", 1: "green", 2: "blue"}
        model.args = {"imgsz": 32, "batch": 8, "model": "yolov8n-cls.yaml", "task": "classify"}
        paths.append(tmp_path_factory.mktemp("weights") / f"{seed}.pt")
        torch.save({"model": model, "ema": None, "train_args": model.args}, paths[-1])
    return paths


def promoted(folder: Path, run: str, weights: Path, trained_with: str) -> str:
    """Keep and promote a student; returns its name."""
    student = folder / f"student {weights.stem}"
    student.mkdir(exist_ok=True)
    (student / "weights.pt").write_bytes(weights.read_bytes())
    card = {
        "classes": ["red", "green", "blue"],
        "imgsz": 32,
        "trained_with": {"model": trained_with},
    }
    (student / "student.json").write_text(json.dumps(card))
    students = Students(folder / run / "students")
    name = students.keep(student)
    students.promote(name)
    return name


def fingerprint(data: bytes) -> float:
    """The sum of the first layer's weights in a package."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        state = torch.load(BytesIO(archive.read("state_dict.pt")), weights_only=True)
    return float(next(iter(state.values())).double().sum())


def test_the_student_in_use_is_sent_under_a_name_in_lower_case(
    tmp_path: Path, server: FakeRoboflow, weights: list[Path]
) -> None:
    write_run(tmp_path, [Photo("a")], run="MyRun")
    first = promoted(tmp_path, "MyRun", weights[0], "yolov8n-cls.yaml")
    second = promoted(tmp_path, "MyRun", weights[1], "yolov8n-cls.yaml")
    fruit = server.projects["fruit"]
    done = call("deploy", "--json")
    assert json.loads(done.stdout) == {
        "workspace": "ws", "project": "fruit", "student": second,
        "model": f"myrun-{second.lower()}", "exports": [],
    }  # fmt: skip
    Students(tmp_path / "MyRun" / "students").promote(first)
    shown = call("deploy").stdout
    assert shown == f"Sent {first} to ws/fruit as myrun-{first.lower()}.\n"
    assert first.lower() != first  # it has a T in its time
    assert [name for name, _ in fruit.weights] == [
        f"myrun-{second.lower()}", f"myrun-{first.lower()}",
    ]  # fmt: skip
    sums = [
        float(next(iter(torch.load(path, weights_only=False)["model"].state_dict().values()))
              .double().sum())
        for path in weights
    ]  # fmt: skip
    assert [fingerprint(data) for _, data in fruit.weights] == pytest.approx(sums[::-1], rel=1e-3)


def exported(run: Path, name: str, weights: Path, passed: bool = True) -> None:
    """An exported folder, as far as it is looked at."""
    folder = run / "exports" / name
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"a model")
    labels = {
        "format": "onnx", "precision": "fp32", "student": sha256(weights),
        "files": {"model.onnx": sha256(folder / "model.onnx")},
    }  # fmt: skip
    (folder / "labels.json").write_text(json.dumps(labels))
    proof = {"passed": passed, "sentence": f"{name} gives the student's answer."}
    (folder / "proof.json").write_text(json.dumps(proof))


def test_the_formats_that_were_proved_are_told(
    tmp_path: Path, server: FakeRoboflow, weights: list[Path]
) -> None:
    write_run(tmp_path, [Photo("a")])
    promoted(tmp_path, "run", weights[0], "yolov8n-cls.yaml")
    run = tmp_path / "run"
    exported(run, "onnx", weights[0])
    exported(run, "onnx-int8", weights[0], passed=False)
    exported(run, "openvino", weights[1])  # another student's
    told = json.loads(call("deploy", "--json").stdout)["exports"]
    assert [one["name"] for one in told] == ["onnx"]
    place = run / "exports" / "onnx"
    assert told[0]["folder"] == str(place)
    assert call("deploy").stdout.splitlines()[1:] == [
        f"Proved: onnx gives the student's answer. It lies in {place}."
    ]


def test_one_that_learned_otherwise_than_it_will_be_asked_there_says_so(
    tmp_path: Path, server: FakeRoboflow, weights: list[Path]
) -> None:
    write_run(tmp_path, [Photo("a")])
    name = promoted(tmp_path, "run", weights[0], "yolov8n-cls.yaml")
    assert f"{name} learned with `student: {{fit: crop}}`, and Roboflow's Inference stretches" in (
        " ".join(call("deploy").stderr.split())
    )
    card = tmp_path / "run" / "students" / name / "student.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"fit": "stretch"}))
    assert "stretch" not in call("deploy").stderr


def checkpoint(path: Path, name: str, **about: Any) -> Path:
    """Write the weights of a student that knows nothing, of an architecture by its name."""
    model = ClassificationModel(name, nc=3, verbose=False)
    model.yaml.update(about)
    model.names = {0: "red", 1: "green", 2: "blue"}
    model.args = {"imgsz": 32, "batch": 8, "model": name, "task": "classify"}
    torch.save({"model": model, "ema": None, "train_args": model.args}, path)
    return path


@pytest.mark.parametrize("trained_with", ["yolov8n-cls.pt", "/run/students/1/weights.pt"])
@pytest.mark.parametrize(
    ("name", "about", "family", "called"),
    [
        ("yolov8n-cls.yaml", {}, "yolov8n-cls", "yolov8n-cls"),
        ("yolov8s-cls.yaml", {}, "yolov8s-cls", "yolov8s-cls"),
        ("yolov8s-cls.yaml", {"yaml_file": "/x/yolov8-cls.yaml"}, "yolov8s-cls", "yolov8s-cls"),
        ("yolo11n-cls.yaml", {}, "yolov11n-cls", "yolo11n-cls"),
    ],
)
def test_the_family_and_the_name_are_those_of_the_weights(
    tmp_path: Path, server: FakeRoboflow, trained_with: str,
    name: str, about: dict[str, str], family: str, called: str,
) -> None:  # fmt: skip
    """Whatever they were trained from, which for a second generation is the first one's file."""
    write_run(tmp_path, [Photo("a")])
    weights = checkpoint(tmp_path / "0.pt", name, **about)
    kept = promoted(tmp_path, "run", weights, trained_with)
    said = call("deploy").stderr
    assert server.projects["fruit"].families == [family]
    assert "declares size" not in said  # packaging finds the size that was announced
    assert Student.load(tmp_path / "run" / "students" / kept, "cpu").name == called


def test_an_architecture_that_roboflow_does_not_take_is_refused(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    write_run(tmp_path, [Photo("a")])
    weights = checkpoint(tmp_path / "0.pt", "yolov8n-cls.yaml", yaml_file="/x/mine.yaml")
    promoted(tmp_path, "run", weights, "/x/mine.yaml")
    assert "is built as 'mine', which Roboflow does not take." in call("deploy", status=1).stderr
    assert server.asked == []


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: b"no weights", lambda data: data[: len(data) // 2],
    lambda data: pickle.dumps({"model": 1}), lambda data: b"\x80\x04\x95" + data[:100],
])  # fmt: skip
def test_damaged_weights_are_one_sentence(
    tmp_path: Path, server: FakeRoboflow, weights: list[Path], damage: Callable[[bytes], bytes]
) -> None:
    write_run(tmp_path, [Photo("a")])
    name = promoted(tmp_path, "run", weights[0], "yolov8n-cls.yaml")
    file = tmp_path / "run" / "students" / name / "weights.pt"
    file.write_bytes(damage(file.read_bytes()))
    said = call("deploy", status=1).stderr
    assert f"{file} cannot be loaded" in said and said.count("\n") == 1 and server.asked == []


def test_weights_that_cannot_be_packaged_or_are_not_taken(
    tmp_path: Path, server: FakeRoboflow, weights: list[Path]
) -> None:
    write_run(tmp_path, [Photo("a")])
    assert (
        "has no promoted student. Run `clip2yolo evaluate` first" in call("deploy", status=1).stderr
    )
    assert server.asked == []
    name = promoted(tmp_path, "run", weights[0], "yolov8n-cls.yaml")
    for status, says in ((401, "does not accept the key for this"), (400, "Roboflow says no")):
        server.fail("/prepareUpload", status)
        assert says in call("deploy", status=1).stderr
        server.fail(f"/run-{name}".lower(), status)
        assert says in call("deploy", status=1).stderr
    assert server.projects["fruit"].weights == []
    server.fail("/prepareUpload", 503)
    server.fail(f"/run-{name}".lower(), 503)
    call("deploy")
    assert len(server.projects["fruit"].weights) == 1
    other = checkpoint(tmp_path / "1.pt", "yolov8n-cls.yaml", yaml_file="yolov7-cls.yaml")
    name = promoted(tmp_path, "run", other, "yolov7-cls.yaml")
    assert f"{name} cannot be packaged: " in call("deploy", status=1).stderr


def test_deploy_creates_no_project(
    tmp_path: Path, server: FakeRoboflow, weights: list[Path]
) -> None:
    write_run(tmp_path, [Photo("a")], project="pears")
    promoted(tmp_path, "run", weights[0], "yolov8n-cls.yaml")
    assert "has no project 'pears'" in call("deploy", status=1).stderr
    assert list(server.projects) == ["fruit"]
