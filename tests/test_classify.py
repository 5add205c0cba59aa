"""`classify`, `teachers` and `ontology` through the command line."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.labels.prompts import advice, prompt_figures
from pipeline.ontology import build_ontology
from pipeline.sample.scene import frame
from tests import slow_server
from tests.fake_inference import KEY, serving
from tests.fakes import picture

PROMPTS = ("-p", "an orange on a conveyor belt", "-p", "a banana on a conveyor belt",
           "-p", "an empty conveyor belt")  # fmt: skip


def clip2yolo(*words: str, data: bytes | None = None) -> Result:
    return CliRunner().invoke(main, words, input=data)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, kind in enumerate(("orange", "banana", "nothing")):
        Image.fromarray(frame(kind, 0, 1, index)).save(folder / f"{kind}.png")
    return folder


def ask(*words: str, data: bytes | None = None) -> list[dict[str, object]]:
    done = clip2yolo("classify", *words, "-t", "pocket", "--json", data=data)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_the_most_probable_prompt_comes_first(photos: Path) -> None:
    found = ask(str(photos), *PROMPTS)
    assert [Path(str(one["image"])).name for one in found] == [
        "banana.png", "nothing.png", "orange.png",
    ]  # fmt: skip
    for one in found:
        rows = one["answers"]
        shares = [row["probability"] for row in rows]
        assert len(rows) == 3 and shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert all(-1 <= row["similarity"] <= 1 for row in rows)
    tops = [one["answers"][0]["prompt"] for one in found]
    assert tops == [PROMPTS[3], PROMPTS[5], PROMPTS[1]]


def test_many_ways_in_give_one_answer(photos: Path) -> None:
    path = photos / "orange.png"
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=photos)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/orange.png"
        found = [
            ask(str(path), *PROMPTS), ask(str(photos / "or*.png"), *PROMPTS),
            ask("-", *PROMPTS, data=path.read_bytes()), ask(address, *PROMPTS),
        ]  # fmt: skip
        missing = clip2yolo("classify", address + "x", *PROMPTS, "-t", "pocket")
    finally:
        server.shutdown()
        server.server_close()
    assert len({json.dumps(one[0]["answers"]) for one in found}) == 1
    assert missing.exit_code == 1 and "status 404" in missing.stderr


def test_an_address_has_an_end_in_bytes(photos: Path) -> None:
    with slow_server.serving(slow_server.endless) as address:
        done = clip2yolo("classify", address, *PROMPTS, "-t", "pocket")
    assert done.exit_code == 1
    assert done.stderr.endswith("It is larger than 64 MB. Download it yourself.\n")


@pytest.mark.slow
def test_an_address_has_an_end_in_time(photos: Path) -> None:
    answer = slow_server.drop_by_drop(slow_server.HEAD + b"Content-Length: 500000\r\n\r\n")
    with slow_server.serving(answer, pause=0.5) as address:
        done = clip2yolo("classify", address, *PROMPTS, "-t", "pocket")
    assert done.exit_code == 1
    assert done.stderr.endswith("The server takes longer than 60 s for it. Download it yourself.\n")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://photos.example/1.jpg", "the proxy 127.0.0.1:9 does not answer"),
        (f"http://{'a' * 70}.example/1.jpg", "LocationParseError"),
        ("http://[::1/1.jpg", "InvalidURL"),
    ],
)
def test_an_address_that_leads_nowhere_says_why(
    photos: Path, monkeypatch: pytest.MonkeyPatch, address: str, says: str
) -> None:
    if "proxy" in says:
        monkeypatch.setenv("http_proxy", "http://ann:secret@127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "")
    done = clip2yolo("classify", address, *PROMPTS, "-t", "pocket")
    assert done.exit_code == 1 and "secret" not in done.stderr
    assert done.stderr.endswith(f"It cannot be fetched ({says}).\n")


def test_the_terminal_shows_five_decimals_and_as_many_rows_as_asked(photos: Path) -> None:
    path = photos / "orange.png"
    done = clip2yolo("classify", str(path), *PROMPTS, "-t", "pocket", "--top", "1")
    first, row = done.stdout.splitlines()
    assert first == str(path)
    name, similarity, probability = row.strip().rsplit(maxsplit=2)
    assert name == PROMPTS[1]
    assert all(len(figure.split(".")[1]) == 5 for figure in (similarity, probability))


def test_one_bad_picture_does_not_hide_the_others(photos: Path) -> None:
    (photos / "bad.png").write_bytes(b"no picture")
    done = clip2yolo("classify", str(photos), *PROMPTS, "-t", "pocket", "--json")
    assert done.exit_code == 1 and "bad.png" in done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 4 and sum("problem" in one for one in found) == 1


def test_mistakes(photos: Path) -> None:
    path = str(photos / "orange.png")
    for words, status, says in (
        ((path,), 2, "in one way"),
        ((path, "-p", "one only", "-t", "pocket"), 2, "one class only"),
        (
            ("nowhere.png", *PROMPTS, "-t", "pocket"),
            1,
            "nowhere.png does not exist. Correct the path.",
        ),
        ((path, *PROMPTS, "-t", "clap-vit"), 1, "clap-vit"),
    ):
        done = clip2yolo("classify", *words)
        assert (done.exit_code, done.stdout) == (status, "")
        assert says in done.stderr and "Traceback" not in done.stderr
    warned = clip2yolo("classify", path, "-p", "a zeppelin", *PROMPTS, "-t", "pocket")
    assert warned.exit_code == 0 and "'zeppelin'" in warned.stderr


def test_a_runs_ontology_and_its_prompts(photos: Path) -> None:
    settings = {
        "source": "photos", "teacher": ["pocket"],
        "ontology": {"an orange": "fruit", "a banana": "fruit", "an empty belt": "none"},
    }  # fmt: skip
    Path("run.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    done = clip2yolo("classify", str(photos / "orange.png"), "-c", "run.yaml", "--json")
    assert {row["class"] for row in json.loads(done.stdout)[0]["answers"]} == {"fruit", "none"}
    table = json.loads(clip2yolo("ontology", "-c", "run.yaml", "--json").stdout)
    assert [row["prompt"] for row in table] == list(settings["ontology"])
    assert sum(row["won"] for row in table) == 3
    assert all(row["rival_class"] != row["class_name"] for row in table)
    assert "nearest rival" in clip2yolo("ontology", "-c", "run.yaml").stdout


def test_one_question_to_an_inference_server_is_one_comparison(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOFLOW_API_KEY", KEY)
    with serving() as server:
        settings = {
            "source": "photos", "ontology": {"a cat": "cat", "a dog": "dog"},
            "teacher": {"kind": "inference", "model": "default", "url": server.url},
        }  # fmt: skip
        Path("run.yaml").write_text(yaml.safe_dump(settings))
        one = clip2yolo("classify", str(photos / "orange.png"), "-c", "run.yaml", "--json")
        assert server.asked.count("/clip/compare") == 1
        both = clip2yolo("classify", str(photos), "-c", "run.yaml", "--json")
        assert server.asked.count("/clip/embed_image") == 3
    by_name = {item["image"]: item["answers"] for item in json.loads(both.stdout)}
    (single,) = json.loads(one.stdout)
    for first, second in zip(single["answers"], by_name[single["image"]], strict=True):
        assert first["similarity"] == pytest.approx(second["similarity"], abs=1e-4)
    assert KEY not in one.output + both.output


def test_teachers_are_listed_with_source_and_licence() -> None:
    found = {one["name"]: one for one in json.loads(clip2yolo("teachers", "--json").stdout)}
    assert found["pocket"]["here"] and found["clip-vit-b-32"]["licence"] == "MIT"
    assert all(one["source"] for one in found.values())
    text = clip2yolo("teachers").stdout
    assert all(name in text for name in found)


def test_spaces_are_listed_with_source_and_licence() -> None:
    words = ("teachers", "--spaces")
    found = {one["name"]: one for one in json.loads(clip2yolo(*words, "--json").stdout)}
    assert found["dinov2-small"]["licence"] == "Apache-2.0" and found["dinov2-small"]["knn"] == 79
    assert all(one["source"] and one["kind"] == "timm" for one in found.values())
    text = clip2yolo(*words).stdout
    assert all(name in text for name in found) and "space: student" in text


def test_figures_of_prompts() -> None:
    ontology = build_ontology({"a": "x", "b": "x", "c": "y", "d": "z"})
    by_prompt = np.array([[0.5, 0.3, 0.15, 0.05], [0.6, 0.1, 0.1, 0.2], [0.1, 0.2, 0.45, 0.25]])
    first, second, third, fourth = prompt_figures(by_prompt, ontology)
    assert (first.won, first.rival) == (2, "c") and first.margin == pytest.approx(0.375)
    assert (second.won, second.margin, second.rival_class) == (0, None, "y")
    assert (third.won, third.rival) == (1, "d") and third.margin == pytest.approx(0.2)
    assert fourth.won == 0
    sentences = advice([first, second, third, fourth], 3)
    assert len(sentences) == 2 and "won no image" in sentences[0]


def test_a_student_answers_in_its_classes(photos: Path, tmp_path: Path) -> None:
    from pipeline.config import StudentConfig
    from pipeline.student import train

    for split in ("train", "valid", "test"):
        for name in ("red", "blue"):
            folder = tmp_path / "dataset" / split / name
            folder.mkdir(parents=True)
            for seed in range(4):
                picture(name, seed).save(folder / f"{seed}.png")
    quick = {"imgsz": 32, "epochs": 1, "batch": 4, "workers": 0, "distill": "hard"}
    config = StudentConfig.model_validate({"model": "yolov8n-cls.yaml"} | quick)
    train(tmp_path / "dataset", tmp_path / "run" / "student", config, ["red", "blue"])
    done = clip2yolo("classify", str(photos), "--student", str(tmp_path / "run"), "--json")
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)[0]["answers"]
    assert {row["prompt"] for row in rows} == {"red", "blue"} and "similarity" not in rows[0]
