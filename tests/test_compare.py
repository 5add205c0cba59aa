"""`clip2yolo teachers --compare`, on real files, with teachers that disagree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.cli import main
from tests.fakes import photos, sha256
from tests.films import write_video
from tests.tiny_models import write_model

COLORS = {"red": 6, "green": 6, "blue": 6}


def clip2yolo(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random teachers, and one whose weights are damaged."""
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "one", seed=1)
    write_model(folder / "two, three", seed=2)
    write_model(folder / "broken", seed=3)
    (folder / "broken" / "open_clip_model.safetensors").write_bytes(b"nothing of the kind")
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config with eighteen photos, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    photos(tmp_path / "photos", COLORS)
    write_config(tmp_path)
    return tmp_path


def write_config(folder: Path, **more: Any) -> None:
    settings = {
        "source": "photos", "ontology": {f"a {name} box": name for name in COLORS},
        "teacher": "pocket", "label": {"min_confidence": 0.1},
    } | more  # fmt: skip
    (folder / "clip2yolo.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))


def compared(models: Path, *more: str) -> Any:
    done = clip2yolo("teachers", "--compare", f"pocket,local-dir:{models / 'one'}", "--json", *more)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_what_they_cost_and_where_they_differ(folder: Path, models: Path) -> None:
    done = clip2yolo(
        "teachers", "--compare", "pocket", "--compare", f"local-dir:{models / 'one'}",
        "--compare", f"local-dir:{models / 'two, three'}", "--sample", "12", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["images"], found["found"]) == (12, 18)
    names = [one["name"] for one in found["teachers"]]
    assert names == ["pocket", "one", "two, three"]
    sizes = [one["file_bytes"] for one in found["teachers"]]
    assert sizes[1:] == [
        (models / name / "open_clip_model.safetensors").stat().st_size for name in names[1:]
    ]
    for one in found["teachers"]:
        assert one["images_per_second"] > 0 and one["parameters"] > 0 and one["device"]
        assert 1 / 3 <= one["confidence"] <= 1 and one["accepted"] == 1 and one["accuracy"] is None
    pairs = {(one["first"], one["second"]): one for one in found["pairs"]}
    assert list(pairs) == [("pocket", "one"), ("pocket", "two, three"), ("one", "two, three")]
    apart = {pair: round(12 * (1 - one["agreement"]["value"])) for pair, one in pairs.items()}
    for pair, one in pairs.items():
        assert sum(kind["images"] for kind in one["confused"]) <= apart[pair]
    assert max(apart.values()) <= found["differing"] <= 12
    # The pictures are those on which not all say the same, and what each says.
    assert len(found["divided"]) == found["differing"] > 0
    for one in found["divided"]:
        said = [answer["class"] for answer in one["answers"]]
        assert len(said) == 3 and len(set(said)) > 1 and one["person"] is None
        assert Path(one["image"]).is_file()
    assert found["verdict"]["winner"] is None and found["verdict"]["answers"] == 0
    assert "stays open" in found["verdict"]["sentence"]
    # Nothing of a run is there but the picture, which the run knows as its own.
    picture = folder / "runs" / "clip2yolo" / "teachers.jpg"
    assert found["picture"] == str(picture)
    with Image.open(picture) as sheet:
        assert sheet.format == "JPEG" and sheet.width > 400
    assert clip2yolo("label").exit_code == 0
    again = compared(models)
    assert again["picture"] == str(picture) and again["images"] == 18


def test_the_answers_are_what_each_teacher_labels(folder: Path, models: Path) -> None:
    found = compared(models)
    labels = {}
    for number, model in enumerate(("pocket", f"local-dir:{models / 'one'}")):
        write_config(folder, teacher=model, workspace=f"run{number}", label={"refine": "none"})
        assert clip2yolo("label").exit_code == 0
        table = pl.read_parquet(folder / f"run{number}" / "labels.parquet")
        labels[number] = dict(table.select("path", "guess").iter_rows())
    same = [labels[0][path] == labels[1][path] for path in labels[0]]
    assert found["pairs"][0]["agreement"]["value"] == pytest.approx(np.mean(same))
    for one in found["divided"]:
        for number in (0, 1):
            assert one["answers"][number]["class"] == labels[number][one["image"]]


def test_tables_for_people(folder: Path, models: Path) -> None:
    done = clip2yolo("teachers", "--compare", f"pocket,local-dir:{models / 'one'}", "-q")
    assert done.exit_code == 0, done.stderr
    for words in ("Teachers on 18 images of 18", "Pairs", "images/s", "teachers.jpg shows",
                  "Where they are surest of different classes", "name it as `truth:`"):  # fmt: skip
        assert words in done.stdout
    assert "right, with 95 %" not in done.stdout


def test_truth_says_who_is_best(folder: Path, models: Path) -> None:
    for name in COLORS:
        photos(folder / "truth" / name, {name: 30}, start=100)
    write_config(folder, truth="truth")
    found = compared(models)
    pocket, random = found["teachers"]
    assert found["answers_from"] == "truth" and found["caveat"] is None
    assert found["verdict"]["answers"] == pocket["accuracy"]["n"] == 90
    assert found["images"] == 18  # those of the truth are looked at in addition
    assert pocket["accuracy"]["value"] > random["accuracy"]["value"]
    assert (
        found["verdict"]["winner"] == "pocket" and "beyond chance" in found["verdict"]["sentence"]
    )
    (duel,) = found["verdict"]["duels"]
    gained = duel["only_first_right"] - duel["only_second_right"]
    assert gained == round(90 * (pocket["accuracy"]["value"] - random["accuracy"]["value"]))
    assert any(one["person"] for one in found["divided"])
    shown = clip2yolo("teachers", "--compare", f"pocket,local-dir:{models / 'one'}").stdout
    assert "right, with 95 %" in shown and "pocket is best" in shown


def test_decisions_of_the_run_judge_where_there_is_no_truth(folder: Path, models: Path) -> None:
    assert clip2yolo("label").exit_code == 0
    files = sorted((folder / "photos").glob("red_*.png"))[:3]
    review = folder / "runs" / "clip2yolo" / "review.csv"
    pl.DataFrame(
        {"id": [sha256(file) for file in files], "path": [*map(str, files)], "class": ["red"] * 3}
    ).write_csv(review)
    before = review.read_bytes()
    found = compared(models)
    assert found["answers_from"] == "decisions" and found["verdict"]["answers"] == 3
    assert "unsure of" in found["caveat"]
    assert (
        found["verdict"]["winner"] is None and "not show a winner" in found["verdict"]["sentence"]
    )
    assert review.read_bytes() == before


def test_one_that_cannot_be_loaded_keeps_nobody_else_from_it(folder: Path, models: Path) -> None:
    broken = f"local-dir:{models / 'broken'}"
    done = clip2yolo(
        "teachers", "--compare", f"pocket,{broken},local-dir:{models / 'one'}", "--json"
    )
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert [one["name"] for one in found["teachers"]] == ["pocket", "one"]
    (failed,) = found["failed"]
    assert failed["name"] == "broken" and "cannot be loaded" in failed["reason"]
    (line,) = [line for line in done.stderr.splitlines() if "broken" in line and "warning" in line]
    assert line.startswith("warning: broken could not be compared. The model in ")
    # A prompt that is too long for one of them is a reason, too.
    write_config(folder, ontology={"a red box " * 9: "red", "a blue box": "blue"})
    done = clip2yolo("teachers", "--compare", f"pocket,local-dir:{models / 'one'}", "--json")
    assert done.exit_code == 1 and "too long" in done.stderr
    # With nobody left there is nothing to show.
    done = clip2yolo("teachers", "--compare", f"{broken},local-dir:{models / 'one'}")
    assert done.exit_code == 1 and "None of the teachers could be asked" in done.stderr
    assert done.stdout == ""


def test_images_that_cannot_be_read_are_left_out_for_all(folder: Path, models: Path) -> None:
    damaged = folder / "photos" / "red_000.png"
    damaged.write_bytes(damaged.read_bytes()[:-60])  # its header is whole
    words = ("teachers", "--compare", f"pocket,local-dir:{models / 'one'}")
    done = clip2yolo(*words, "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["images"] == 17
    assert "warning: pocket could not read 1 image, and all are compared without." in done.stderr
    for path in (folder / "photos").iterdir():
        path.write_bytes(b"no picture")
    done = clip2yolo(*words)
    assert done.exit_code == 1 and "nothing to compare on" in done.stderr and done.stdout == ""


def test_images_without_a_run(folder: Path, models: Path) -> None:
    (folder / "clip2yolo.yaml").unlink()
    picture = folder / "new" / "sheet.png"
    both = [f"local-dir:{models / name}" for name in ("one", "two, three")]
    words = (
        "teachers", "--compare", both[0], "--compare", both[1],
        "--images", "photos", "--classes", "red, green,blue",
    )  # fmt: skip
    done = clip2yolo(*words, "--output", str(picture), "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["images"] == 18 and found["answers_from"] is None
    assert found["picture"] == str(picture) and Image.open(picture).format == "PNG"
    assert sorted(path.name for path in folder.iterdir()) == ["new", "photos"]
    done = clip2yolo(*words)
    assert done.exit_code == 0 and "--output" in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["new", "photos"]
    again = clip2yolo(*words, "--output", str(picture))
    assert again.exit_code == 2 and "exists already" in again.stderr


def test_frames_of_a_film_are_looked_at_aside(folder: Path, models: Path) -> None:
    shutil.rmtree(folder / "photos")
    write_video(folder / "film.mp4", [name for name in COLORS for _ in range(10)])
    write_config(folder, source={"path": "film.mp4", "every": 5})
    found = compared(models)
    assert found["found"] >= 3
    assert sorted(p.name for p in (folder / "runs" / "clip2yolo").glob("[a-z]*")) in (
        [], ["teachers.jpg"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--compare", "pocket"), "fewer than two"),
        (("--compare", " , "), "fewer than two"),
        (("--compare", "pocket,pocket"), "names pocket twice"),
        (("--compare", "pocket,clip-vit-b-23"), "open_clip has no model 'clip-vit-b-23'"),
        (("--compare", "pocket,local-dir:nowhere"), "nowhere is not a folder"),
        (("--compare", "pocket,ViT-B-32/openAI2"), "neither a file nor pretrained weights"),
        (("--compare", "pocket,clip-vit-b-32", "--device", "gpu"), "device"),
        (("--compare", "pocket,clip-vit-b-32", "-c", "none.yaml"), "none.yaml"),
        (("--compare", "pocket,clip-vit-b-32", "--classes", "a,b"), "belongs to `--images`"),
        (("--compare", "pocket,clip-vit-b-32", "--images", "photos"), "at least two `--classes`"),
        (
            ("--compare", "pocket,clip-vit-b-32", "--images", "photos", "-c", "clip2yolo.yaml"),
            "in one way",
        ),
        (("--compare", "pocket,clip-vit-b-32", "--output", "x.txt"), "must end in .jpg or .png"),
        (("--compare", "pocket,clip-vit-b-32", "--spaces"), "not both"),
        (("--images", "photos"), "belongs to `--compare`"),
        (("--output", "x.jpg"), "belongs to `--compare`"),
        (("--compare", "pocket,clip-vit-b-32", "--sample", "1"), "1 is not in the range"),
    ],
)
def test_a_mistake_is_one_sentence(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = clip2yolo("teachers", *words)
    assert done.exit_code == 2 and said in done.stderr.replace("\n", " "), done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert not (folder / "runs").exists()


def test_somebody_elses_picture_is_not_replaced(folder: Path, models: Path) -> None:
    theirs = folder / "runs" / "clip2yolo" / "teachers.jpg"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    done = clip2yolo("teachers", "--compare", f"pocket,local-dir:{models / 'one'}", "--json")
    assert done.exit_code == 1 and "was not made by this run" in done.stderr
    assert json.loads(done.stdout)["picture"] is None and theirs.read_bytes() == b"theirs"


def test_real_teachers_on_real_photos(shared: Path, tmp_path: Path) -> None:
    """The better of two small CLIPs is found, with the accuracy that its card tells."""
    data, models = shared / "data" / "everyday", shared / "teachers"
    if not (models / "natural-small").is_dir():
        pytest.skip(f"needs the shared teacher natural-small, which is not in {models}")
    labeled = sorted((data / "test").glob("*/*.jpg"))[::3]
    table = {"path": [*map(str, labeled)], "class": [path.parent.name for path in labeled]}
    pl.DataFrame(table).write_csv(tmp_path / "truth.csv")
    settings = {
        "source": str(data / "pool"), "truth": "truth.csv", "workspace": "run",
        "ontology": {f"a photo of a {name}": name for name in dict.fromkeys(table["class"])},
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    both = ",".join(f"local-dir:{models / name}" for name in ("natural-tiny", "natural-small"))
    done = clip2yolo(
        "teachers", "--compare", both, "-c", str(tmp_path / "run.yaml"), "--sample", "20", "--json"
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    tiny, small = found["teachers"]
    assert found["verdict"]["winner"] == "natural-small"
    assert tiny["accuracy"]["value"] == pytest.approx(0.72, abs=0.08)
    assert small["accuracy"]["value"] == pytest.approx(0.87, abs=0.08)
