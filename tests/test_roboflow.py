"""Every image reaches Roboflow once, with its class and split, and the key reaches nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from pipeline.cli import main
from pipeline.labels.stage import LABEL
from pipeline.records import DATASET, LABELS, table, write_table
from pipeline.run.workspace import Workspace
from tests.fake_roboflow import KEY, FakeProject, FakeRoboflow, fake_roboflow, talking_to
from tests.fakes import label_counts, sha256
from tests.repository import REPOSITORY
from tests.tiny_student import config

CLASSES = ("red", "blue", "in valid")


@pytest.fixture
def server() -> Iterator[FakeRoboflow]:
    with fake_roboflow() as running:
        yield running


def run_folder(folder: Path, count: int, **section: Any) -> Path:
    """A run whose images are labeled: two in ten abstained, names that have misled others."""
    rng = np.random.default_rng(0)
    rows, exported = [], []
    for number in range(count):
        name = CLASSES[number % 3]
        suffix = (".jpg", ".png", ".webp", ".gif")[number % 4] if number < 40 else ".png"
        path = folder / "photos" / ("valid", "train")[number % 2] / f"test_{number:04d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (6, 6, 3), np.uint8)
        pixels[0, 0] = (number % 256, number // 256, 7)
        Image.fromarray(pixels).save(path)
        one, confidence = sha256(path), 0.4 + 0.6 * (number % 10) / 10
        accepted = number % 10 > 1
        rows.append({
            "id": one, "path": str(path), "class": name if accepted else None, "guess": name,
            "confidence": confidence, "margin": confidence / 2, "probabilities": [confidence],
            "decision": "accepted" if accepted else "abstained", "reason": "",
        })  # fmt: skip
        if accepted:
            split = ("train", "valid", "test")[number % 7 % 3]
            exported.append({
                "id": one, "path": str(path), "class": name, "split": split, "group": one,
                "file": f"{split}/{name}/{path.name}",
            })  # fmt: skip
    workspace = Workspace(folder / "run")
    write_table(workspace.labels, table(rows, LABELS))
    write_table(workspace.dataset_table, table(exported, DATASET))
    LABEL.finish(workspace, "x", label_counts(), 1.0)
    settings = {
        "source": "photos", "workspace": "run",
        "ontology": {f"a {name} thing": name for name in CLASSES},
        "roboflow": {"project": "fruit", "timeout": 1.5, **section},
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    for name in CLASSES:  # a folder of that name must not be taken for an annotation
        (folder / name).mkdir(exist_ok=True)
    return folder


def start(folder: Path, server: FakeRoboflow, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *words, "--config", "run.yaml"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"} | server.environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def alone(folder: Path, server: FakeRoboflow, *words: str, status: int = 0) -> tuple[str, str]:
    """What a command says in a process of its own, where libraries may write to a terminal, too."""
    process = start(folder, server, *words)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert "Traceback" not in err
    nothing_shows_the_key(folder, out, err)
    return out, err


def call(folder: Path, server: FakeRoboflow, *words: str, status: int = 0) -> tuple[str, str]:
    """What a command says in this process, which spares it the loading of libraries."""
    file = str(folder / "run.yaml")
    with talking_to(server):
        done = CliRunner().invoke(main, [*words, "--config", file], env={"COLUMNS": "200"})
    assert done.exit_code == status, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    nothing_shows_the_key(folder, done.stdout, done.stderr)
    return done.stdout, done.stderr


def nothing_shows_the_key(folder: Path, *texts: str) -> None:
    for text in texts:
        assert KEY not in text
    for path in (folder / "run").rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def wanted(folder: Path) -> dict[str, tuple[str, str]]:
    rows = pl.read_parquet(folder / "run" / "dataset.parquet")
    return {
        one[:12]: (name, split) for one, name, split in rows.select("id", "class", "split").rows()
    }


def arrived(project: FakeProject) -> dict[str, tuple[str | None, str]]:
    return {
        image.name.rsplit("-", 1)[1].split(".")[0]: (image.annotation, image.split)
        for image in project.images.values()
    }


def test_class_split_tags_and_metadata_arrive(tmp_path: Path, server: FakeRoboflow) -> None:
    folder = run_folder(tmp_path, 40)
    shown, _ = call(folder, server, "upload", "--dry-run", "--json")
    assert json.loads(shown)["images"] == 32 and json.loads(shown)["there"] == 0
    assert server.asked == []
    _, err = call(folder, server, "upload", status=1)
    assert "--create" in err and not server.projects
    out, _ = alone(folder, server, "upload", "--create", "--json")
    assert json.loads(out)["there"] == 32
    project = server.projects["fruit"]
    assert project.type == "single-label-classification"
    assert arrived(project) == wanted(folder)
    image = next(iter(project.images.values()))
    assert image.batch == "run" and "run-run" in image.tags and "teacher-a-teacher" in image.tags
    assert any(tag.startswith("confidence-") for tag in image.tags)
    assert set(image.metadata) == {"confidence", "margin", "teacher"}
    suffixes = Counter(Path(image.name).suffix for image in project.images.values())
    assert set(suffixes) == {".jpg", ".png", ".webp"}  # GIF arrives as PNG of the same pixels
    assert all(image.annotated == 1 for image in project.images.values())
    asked = len(server.asked)
    assert json.loads(call(folder, server, "upload", "--dry-run", "--json")[0])["there"] == 32
    alone(folder, server, "upload", "-v")
    assert sum("upload" in one or "annotate" in one for one in server.asked[asked:]) == 0


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_person_is_asked_before_a_project_is_created(
    tmp_path: Path, server: FakeRoboflow, answer: str
) -> None:
    import pty

    folder = run_folder(tmp_path, 3)
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "upload", "--config", "run.yaml"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | server.environment(),
        stdin=theirs, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert "Create it?" in done.stderr
    assert (done.returncode, list(server.projects)) == (
        (0, ["fruit"]) if answer == "y" else (1, [])
    )


def test_a_project_is_created_once(tmp_path: Path, server: FakeRoboflow) -> None:
    folder = run_folder(tmp_path, 3)
    server.cut_next = "/projects"
    call(folder, server, "upload", "--create")
    assert list(server.projects) == ["fruit"] and server.cut_next == ""
    settings = yaml.safe_load((folder / "run.yaml").read_text())
    settings["roboflow"]["project"] = "My Fruit"
    (folder / "run.yaml").write_text(yaml.safe_dump(settings))
    server.ending = "-abc12"
    _, err = call(folder, server, "upload", "--create")
    assert "spells 'My Fruit' as 'my-fruit-abc12'" in err and "{project: my-fruit-abc12}" in err
    given = yaml.safe_load((folder / "run.yaml").read_text())["roboflow"]["project"]
    assert given == "My Fruit"  # the person's file is theirs
    for words in (("upload", "--create"), ("upload",)):
        out, err = call(folder, server, *words, "--json")
        assert json.loads(out)["project"] == "my-fruit-abc12" and "spells" not in err
    assert json.loads(call(folder, server, "upload", "--dry-run", "--json")[0])["there"] == 1
    server.projects["my-fruit-abc12"].versions = 1
    call(folder, server, "pull")
    assert list(server.projects) == ["fruit", "my-fruit-abc12"]
    assert server.requests("POST /ws/projects") == 2


def test_a_project_that_has_gone_is_created_anew_and_damaged_memory_is_said(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    folder = run_folder(tmp_path, 3, project="My Fruit")
    call(folder, server, "upload", "--create")
    server.projects.clear()
    server.ending = "-2"
    _, err = call(folder, server, "pull", status=1)
    assert "has no project 'my-fruit'" in err
    call(folder, server, "upload", "--create")
    call(folder, server, "upload")
    assert [one.title for one in server.projects.values()] == ["My Fruit"]
    assert list(server.projects) == ["my-fruit-2"]
    memory = folder / "run" / "upload" / "projects.json"
    assert json.loads(memory.read_text()) == [["ws", "My Fruit", "my-fruit-2"]]
    for text in ("{", "[1]", '[["ws"]]'):
        memory.write_text(text)
        _, err = call(folder, server, "upload", status=1)
        assert f"{memory} is damaged. Delete it, and write the project's id" in err


@pytest.mark.parametrize("path", ["/", "/ws", "/ws/fruit", "/ws/projects"])
def test_a_server_that_never_answers_is_asked_again(
    tmp_path: Path, server: FakeRoboflow, path: str
) -> None:
    folder = run_folder(tmp_path, 3)
    server.ignore_next = path
    call(folder, server, "upload", "--create")
    assert server.ignore_next == "" and len(server.projects["fruit"].images) == 1


def test_abstained_images_go_up_without_a_label(tmp_path: Path, server: FakeRoboflow) -> None:
    folder = run_folder(tmp_path, 20)
    call(folder, server, "upload", "--create", "--only", "abstained")
    images = server.projects["fruit"].images.values()
    assert len(images) == 4 and {image.annotation for image in images} == {None}
    out, _ = call(folder, server, "upload", "--only", "all", "--json")
    assert json.loads(out)["there"] == 20 and len(images) == 20


def relabeled(folder: Path, change: dict[str, str]) -> None:
    """Give images, by id, another class, as a person's decision would."""
    workspace = Workspace(folder / "run")
    known = pl.col("id").is_in(list(change))
    name = pl.col("id").replace_strict(change, default=None, return_dtype=pl.String)
    labels = pl.read_parquet(workspace.labels)
    exported = pl.read_parquet(workspace.dataset_table)
    missing = labels.filter(known & ~pl.col("id").is_in(exported["id"].to_list()))
    exported = pl.concat([
        exported.with_columns(pl.when(known).then(name).otherwise("class").alias("class")),
        missing.select(
            "id", "path", name.alias("class"), pl.lit("train").alias("split"),
            pl.col("id").alias("group"), pl.col("path").alias("file"),
        ),
    ])  # fmt: skip
    write_table(workspace.dataset_table, exported)
    human = pl.when(known).then(pl.lit("human")).otherwise("decision").alias("decision")
    write_table(workspace.labels, labels.with_columns(human))


def test_labels_that_changed_are_replaced_only_when_asked(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    folder = run_folder(tmp_path, 20)
    call(folder, server, "upload", "--create", "--only", "all")
    labels = pl.read_parquet(folder / "run" / "labels.parquet")
    # One that was sent with a label, and two that were not: people have labeled one of these there.
    accepted, abstained, annotated = (labels["id"][number] for number in (2, 0, 1))
    was = labels["class"][2]
    other = next(name for name in CLASSES if name != was)
    images = {one.name.rsplit("-", 1)[1].split(".")[0]: one
              for one in server.projects["fruit"].images.values()}  # fmt: skip
    images[annotated[:12]].annotation = "red"
    relabeled(folder, {accepted: other, abstained: "blue", annotated: "blue"})
    out, err = call(folder, server, "upload", "--only", "all", "--json")
    assert images[abstained[:12]].annotation == "blue"
    assert images[annotated[:12]].annotation == "red" and images[accepted[:12]].annotation == was
    found = json.loads(out)
    assert found["there"] == 20 == len(images)
    assert [len(found[kind]) for kind in ("changed", "annotated")] == [1, 1]
    assert f"sent as {was!r} and is {other!r} now" in err and "--relabel" in err
    out, _ = call(folder, server, "upload", "--relabel", "--json")
    assert images[accepted[:12]].annotation == other and json.loads(out)["changed"] == []
    assert images[annotated[:12]].annotation == "red"


def test_duplicates_refusals_and_other_peoples_labels(tmp_path: Path, server: FakeRoboflow) -> None:
    folder = run_folder(tmp_path, 12)
    call(folder, server, "upload", "--create")
    ours = list(server.projects["fruit"].images.values())
    ours[0].annotation, ours[1].annotation = "blue", None
    (folder / "run" / "upload" / "ws--fruit.jsonl").unlink()
    out, err = call(folder, server, "upload", "--json")
    found = json.loads(out)
    assert found["were_there"] == len(ours) and len(found["annotated"]) == len(ours) - 1
    assert "that label stays" in err and ours[0].annotation == "blue"
    assert ours[1].annotation in CLASSES

    del server.projects["fruit"].images[ours[2].id]
    server.projects["fruit"].by_content.clear()
    server.refuse = {ours[2].name}
    (folder / "run" / "upload" / "ws--fruit.jsonl").unlink()
    _, err = call(folder, server, "upload", status=1)
    assert "1 of 8 images are not on Roboflow" in err and "is not welcome" in err
    server.refuse = set()
    call(folder, server, "upload")


@pytest.mark.slow
def test_a_thousand_images_through_faults_and_kills(tmp_path: Path) -> None:
    """5 % of the answers are 429, 500, late or cut off, and the process is killed twice."""
    with fake_roboflow(share=0.05, slow=2.0) as server:
        folder = run_folder(tmp_path, 1250, connections=16)
        for sent in (250, 600):
            process = start(folder, server, "upload", "--create")
            end = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < end:
                images = server.projects["fruit"].images if "fruit" in server.projects else {}
                if len(images) >= sent:
                    break
                time.sleep(0.01)
            ended = process.poll()
            process.send_signal(signal.SIGKILL)
            said = process.communicate()[1]
            assert ended is None and len(images) >= sent, said
        out, _ = call(folder, server, "upload", "--json")
        project = server.projects["fruit"]
        assert json.loads(out)["there"] == 1000 == len(project.images)
        assert arrived(project) == wanted(folder)
        assert all(image.annotated == 1 for image in project.images.values())
        assert server.faults > 60 and 4 < server.most_at_once <= 20


def test_what_people_corrected_comes_back(tmp_path: Path, server: FakeRoboflow) -> None:
    folder = run_folder(tmp_path, 30)
    call(folder, server, "upload", "--create", "--only", "all")
    _, err = call(folder, server, "pull", status=1)
    assert "no version yet" in err
    project = server.projects["fruit"]
    images = {
        image.name.rsplit("-", 1)[1].split(".")[0]: image for image in project.images.values()
    }
    labels = pl.read_parquet(folder / "run" / "labels.parquet")
    first, second = labels["id"][2], labels["id"][0]  # one accepted, one abstained
    corrected = "in valid" if labels["class"][2] != "in valid" else "red"
    images[first[:12]].annotation = corrected
    images[second[:12]].annotation = "blue"
    project.versions = 2
    out, _ = call(folder, server, "pull", "--json")
    assert json.loads(out) == {"version": 2, "images": 25, "decisions": 2, "strangers": 0}
    human = pl.read_csv(folder / "run" / "human.csv")
    assert dict(human.select("id", "class").rows()) == {first: corrected, second: "blue"}
    images[first[:12]].annotation = "unheard of"
    _, err = call(folder, server, "pull", status=2)
    assert "unheard of" in err and set(pl.read_csv(folder / "run" / "human.csv")["id"]) == {
        first,
        second,
    }


def test_keys_that_cannot_be_and_servers_that_are_not_there(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    folder = run_folder(tmp_path, 3, retries=1)
    server.environment = lambda: {"API_URL": server.url, "ROBOFLOW_API_KEY": "UPPER"}  # type: ignore[method-assign]
    assert "lowercase" in call(folder, server, "upload", status=2)[1]
    server.environment = lambda: {"API_URL": server.url, "ROBOFLOW_API_KEY": "wrong"}  # type: ignore[method-assign]
    _, err = call(folder, server, "upload", status=1)
    assert "ROBOFLOW_API_KEY" in err and "wrong" not in err
    server.environment = lambda: {"API_URL": "http://127.0.0.1:9", "ROBOFLOW_API_KEY": KEY}  # type: ignore[method-assign]
    assert "Run the same command again later" in call(folder, server, "upload", status=1)[1]


@pytest.mark.parametrize("around", ["{}\r\n", ' "{}"', "\ufeff{}"])
def test_a_key_with_something_around_it_is_used_without_and_never_shown(
    tmp_path: Path, server: FakeRoboflow, around: str
) -> None:
    folder, given = run_folder(tmp_path, 3, retries=0), around.format(KEY)
    server.environment = lambda: {"API_URL": server.url, "ROBOFLOW_API_KEY": given}  # type: ignore[method-assign]
    alone(folder, server, "upload", "--create", "-v")
    server.environment = lambda: {"API_URL": "http://127.0.0.1:9", "ROBOFLOW_API_KEY": given}  # type: ignore[method-assign]
    _, err = alone(folder, server, "upload", "-v", status=1)
    assert "api_key=<key>" in err


def test_a_key_that_is_written_otherwise_in_an_address_is_not_shown(
    tmp_path: Path, server: FakeRoboflow
) -> None:
    folder = run_folder(tmp_path, 3, retries=0)
    given = 'rf_k3y that"must never'
    server.environment = lambda: {"API_URL": "http://127.0.0.1:9", "ROBOFLOW_API_KEY": given}  # type: ignore[method-assign]
    _, err = alone(folder, server, "upload", "-v", status=1)
    assert "api_key=<key>" in err and "k3y" not in err


def test_the_weights_arrive_packaged(tmp_path: Path, server: FakeRoboflow) -> None:
    from pipeline.student import train
    from pipeline.student.kept import Students
    from tests.tiny_student import CLASSES as LEARNED
    from tests.tiny_student import make_dataset

    folder = run_folder(tmp_path, 3)
    assert "no promoted student" in call(folder, server, "deploy", status=1)[1]
    make_dataset(tmp_path / "data")
    train(tmp_path / "data", tmp_path / "student", config(epochs=1, batch=8), LEARNED)
    students = Students(folder / "run" / "students")
    students.promote(students.keep(tmp_path / "student"))
    server.projects["fruit"] = FakeProject("fruit", "single-label-classification")
    call(folder, server, "deploy")
    ((name, data),) = server.projects["fruit"].weights
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert {"model_artifacts.json", "state_dict.pt"} <= set(archive.namelist())
        about = json.loads(archive.read("model_artifacts.json"))
    assert name.startswith("run-") and list(about["names"]) == sorted(LEARNED)
