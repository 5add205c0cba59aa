"""One teacher or several, asked about files, single pictures and a run's images."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline.classify import Answer, classify_with_student, classify_with_teachers
from pipeline.config import Config, parse_config
from pipeline.errors import SourceError
from pipeline.images.fetch import fetch_ahead
from pipeline.listener import Listener
from pipeline.ontology import Ontology, build_ontology
from pipeline.teachers.panel import Asked, Panel, ask, in_words, load_panel
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts
from tests.fake_inference import KEY, FakeInference, serving
from tests.fakes import ColorPredictor, ColorTeacher, photos, picture, sha256
from tests.fakes import panel_of as together

ONTOLOGY = build_ontology({"red": "warm", "blue": "cold", "yellow": "warm"})


class TunedTeacher(ColorTeacher):
    def __init__(self, scale: float, gives_vectors: bool = True) -> None:
        super().__init__()
        self.logit_scale, self.gives_vectors = scale, gives_vectors


class ComparingTeacher(ColorTeacher):
    """Can compare by itself, and says how often it did."""

    def __init__(self) -> None:
        super().__init__()
        self.compared = 0

    def compare(self, image: np.ndarray, texts: Sequence[str]) -> np.ndarray | None:
        self.compared += 1
        found: np.ndarray = self.embed_texts(texts) @ self.embed_images([image])[0]
        return found


def panel_of(
    *teachers: Any, weights: tuple[float, ...] = (), ontology: Ontology = ONTOLOGY
) -> Panel:
    members = [
        ZeroShot(one, ontology, embed_prompts(one, ontology), ontology.classes) for one in teachers
    ]
    return together(members, weights)


def by_prompt(teacher: Any, image: Image.Image) -> np.ndarray:
    """The teacher's cosines with the three prompts, from scratch."""
    vector = teacher.embed_images([teacher.prepare(image)])[0]
    cosines: np.ndarray = teacher.embed_texts(list(ONTOLOGY.prompts)) @ vector
    return cosines


def softmax(logits: np.ndarray) -> np.ndarray:
    weights: np.ndarray = np.exp(logits.astype(float))
    return weights / weights.sum()


def answers(panel: Panel, *images: Path, ontology: Ontology = ONTOLOGY) -> list[Answer]:
    return list(classify_with_teachers([str(path) for path in images], panel, ontology))


def test_rows_are_sorted_and_carry_class_cosine_and_probability(tmp_path: Path) -> None:
    (path,) = photos(tmp_path, {"red": 1})
    teacher = TunedTeacher(3.0)
    (found,) = answers(panel_of(teacher), path)
    cosines = by_prompt(teacher, picture("red", 0))
    shares = softmax(3 * cosines)
    order = np.argsort(-shares)
    assert order[0] == 0 and found.image == str(path) and found.problem is None
    assert [row.text for row in found.rows] == [ONTOLOGY.prompts[place] for place in order]
    wanted = ["warm" if row.text in ("red", "yellow") else "cold" for row in found.rows]
    assert [row.class_name for row in found.rows] == wanted
    assert [row.similarity for row in found.rows] == pytest.approx(list(cosines[order]), abs=1e-6)
    assert [row.probability for row in found.rows] == pytest.approx(list(shares[order]), abs=1e-6)


def test_several_teachers_answer_by_weight_and_have_no_common_cosine(tmp_path: Path) -> None:
    paths = photos(tmp_path, {"red": 1, "blue": 1})
    weak, strong = TunedTeacher(1.0), TunedTeacher(20.0)
    found = answers(panel_of(weak, strong, weights=(3, 1)), *paths)
    for answer, name in zip(found, ("red", "blue"), strict=True):
        cosines = by_prompt(weak, picture(name, 0))
        wanted = 0.75 * softmax(cosines) + 0.25 * softmax(20 * cosines)
        shares = {row.text: row.probability for row in answer.rows}
        assert [shares[one] for one in ONTOLOGY.prompts] == pytest.approx(list(wanted), abs=1e-6)
        assert [row.similarity for row in answer.rows] == [None] * 3


def test_a_teacher_without_vectors_has_no_cosines(tmp_path: Path) -> None:
    (found,) = answers(
        panel_of(TunedTeacher(3.0, gives_vectors=False)), *photos(tmp_path, {"red": 1})
    )
    assert [row.similarity for row in found.rows] == [None] * 3


def test_equal_probabilities_keep_the_ontologys_order(tmp_path: Path) -> None:
    (found,) = answers(panel_of(TunedTeacher(0.0)), *photos(tmp_path, {"red": 1}))
    assert [row.text for row in found.rows] == list(ONTOLOGY.prompts)


def test_problems_take_nobodys_place(tmp_path: Path) -> None:
    """More pictures than are asked about at once, of which every fifth cannot be read."""
    names = ["red", "blue", "yellow"] * 14
    paths = []
    for number, name in enumerate(names):
        paths.append(tmp_path / f"{number:02d}.png")
        picture(name, number).save(paths[-1])
        if number % 5 == 0:
            paths[-1].write_bytes(b"no picture")
    for ask_about in (
        lambda texts: classify_with_teachers(texts, panel_of(ColorTeacher()), ONTOLOGY),
        lambda texts: classify_with_student(texts, ColorPredictor()),  # type: ignore[arg-type]
    ):
        found = list(ask_about([str(path) for path in paths]))
        assert [one.image for one in found] == [str(path) for path in paths]
        for number, (one, name) in enumerate(zip(found, names, strict=True)):
            if number % 5 == 0:
                assert (
                    one.rows == () and one.problem == "It is no image in a format that can be read."
                )
            else:
                assert one.problem is None and one.rows[0].text == name
        nothing = list(ask_about([str(paths[0]), str(paths[5])]))
        assert [one.problem is None for one in nothing] == [False, False]
        with pytest.raises(SourceError, match="does not exist"):
            list(ask_about([str(tmp_path / "nowhere.png")]))


def test_a_students_rows_are_its_classes(tmp_path: Path) -> None:
    (path,) = photos(tmp_path, {"green": 1})
    student = ColorPredictor()
    (found,) = classify_with_student([str(path)], student)  # type: ignore[arg-type]
    shares = student.predict([student.prepare(picture("green", 0))])[0]
    order = np.argsort(-shares, kind="stable")
    assert [row.text for row in found.rows] == [student.classes[place] for place in order]
    assert [row.class_name for row in found.rows] == [row.text for row in found.rows]
    assert [row.probability for row in found.rows] == pytest.approx(list(shares[order]))
    assert {row.similarity for row in found.rows} == {None}


def test_only_a_single_picture_is_compared_by_the_teacher_itself(tmp_path: Path) -> None:
    first, second = photos(tmp_path, {"red": 1, "blue": 1})
    teacher = ComparingTeacher()
    (alone,) = answers(panel_of(teacher), first)
    assert teacher.compared == 1
    both = answers(panel_of(teacher), first, second)
    assert teacher.compared == 1 and [one.image for one in both] == [str(first), str(second)]
    for left, right in zip(alone.rows, both[0].rows, strict=True):
        assert (left.text, left.class_name) == (right.text, right.class_name)
        assert left.similarity == pytest.approx(right.similarity, abs=1e-6)
        assert left.probability == pytest.approx(right.probability, abs=1e-6)
    # A comparison knows nothing of averaged templates.
    several = build_ontology({"red": "red", "blue": "blue"}, ["{}", "a {}"])
    answers(panel_of(teacher, ontology=several), first, ontology=several)
    first.write_bytes(b"no picture")
    assert answers(panel_of(teacher), first)[0].rows == ()
    assert teacher.compared == 1


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeInference]:
    monkeypatch.setenv("ROBOFLOW_API_KEY", KEY)
    with serving() as running:
        yield running


def config_of(folder: Path, *teachers: Any) -> Config:
    return parse_config(
        {"source": str(folder), "teacher": list(teachers), "ontology": {
            "a red box": "red", "a blue box": "blue", "a yellow box": "yellow",
        }}, folder / "run.yaml",
    )  # fmt: skip


def asked_about(config: Config, paths: list[Path]) -> tuple[Asked, Ontology]:
    ontology = build_ontology(config.ontology)
    images = pl.DataFrame({"id": [sha256(path) for path in paths], "path": [*map(str, paths)]})
    panel = load_panel(config.teachers, ontology, ontology.classes)
    return ask(panel, images, config.max_pixels, Listener()), ontology


def test_teachers_are_named_in_words(tmp_path: Path) -> None:
    other = {"kind": "inference", "model": "ViT-B-32"}
    assert in_words(config_of(tmp_path, "pocket").teachers) == "the teacher open_clip pocket"
    assert in_words(config_of(tmp_path, "pocket", other).teachers) == (
        "the teachers open_clip pocket and inference ViT-B-32"
    )


def test_two_teachers_are_asked_each_from_a_cache_of_its_own(
    tmp_path: Path, server: FakeInference
) -> None:
    paths = photos(tmp_path / "p", {"red": 3, "blue": 3, "yellow": 1})
    paths[2].write_bytes(paths[2].read_bytes()[:-60])  # its header is whole
    remote = {"kind": "inference", "model": "default", "url": server.url, "weight": 0.5}
    config = config_of(tmp_path, {"model": "pocket", "weight": 1.5, "device": "cpu"}, remote)
    asked, _ = asked_about(config, paths)
    kept = [path for path in paths if path != paths[2]]
    assert asked.ids.to_list() == [sha256(path) for path in kept]
    assert "damaged" in asked.failures[sha256(paths[2])]
    assert (len(asked.failures), asked.computed, asked.from_cache) == (1, 6, 0)
    assert server.asked.count("/clip/embed_image") == 6
    assert asked.panel.weights == (0.75, 0.25)

    whole = asked.answers()
    first, second = whole.alone
    assert whole.together == pytest.approx(0.75 * first + 0.25 * second, abs=1e-6)
    assert np.abs(first - second).max() > 0.1
    assert whole.by_prompt == pytest.approx(whole.together, abs=1e-6)  # a prompt for each class
    part = asked.answers(2, 4)
    assert part.together == pytest.approx(whole.together[2:4], abs=1e-6)
    assert part.alone[1] == pytest.approx(second[2:4], abs=1e-6)
    assert part.by_prompt == pytest.approx(whole.by_prompt[2:4], abs=1e-6)
    assert asked.answers(6).together.shape == (0, 3)

    local, far = (member.teacher for member in asked.panel.members)
    vectors = asked.vectors([sha256(paths[6]), sha256(paths[0])])
    pictures = [picture("yellow", 0), picture("red", 0)]
    mine = local.embed_images([local.prepare(image) for image in pictures])
    assert vectors == pytest.approx(mine, abs=2e-2)
    theirs = [server.picture_vector(image) for image in pictures]
    cosines = (
        np.stack(theirs)
        @ np.stack([server.text_vector(text) for text in config.ontology]).T
        / np.linalg.norm(theirs, axis=1)[:, None]
    )
    cosines /= np.linalg.norm([server.text_vector(text) for text in config.ontology], axis=1)
    assert far.logit_scale == 100
    assert second[5] == pytest.approx(softmax(100 * cosines[0]), abs=1e-3)
    assert second[0] == pytest.approx(softmax(100 * cosines[1]), abs=1e-3)

    more = [*kept, *photos(tmp_path / "q", {"gray": 2})]
    again, _ = asked_about(config, more)
    assert (again.computed, again.from_cache) == (2, 6)
    # One teacher that has to look at everything is enough, the first or the second.
    other = remote | {"model": "RN50x4"}
    changed = config_of(tmp_path, {"model": "pocket", "device": "cpu"}, other)
    anew, _ = asked_about(changed, more)
    assert (anew.computed, anew.from_cache) == (8, 0)
    newest = remote | {"model": "ViT-B-32"}
    changed = config_of(tmp_path, newest, {"model": "pocket", "device": "cpu"})
    anew, _ = asked_about(changed, more)
    assert (anew.computed, anew.from_cache) == (8, 0)


def test_addresses_are_fetched_while_somebody_is_loaded(tmp_path: Path) -> None:
    asked_for: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def do_GET(self) -> None:
            asked_for.append(self.path)
            super().do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    colors = ["red", "blue", "yellow", "green", "red"]
    for number, color in enumerate(colors):
        picture(color, number).save(tmp_path / f"{number}.png")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        names = [f"{here}/0.png", f"{here}/none.png", str(tmp_path / "1.png")]
        names += [f"{here}/{number}.png" for number in (2, 3, 4, 0)]
        ahead = fetch_ahead(names)
        for coming in ahead.values():
            coming.exception(timeout=60)
        assert sorted(asked_for) == ["/0.png", "/2.png", "/3.png", "/none.png"]
        found = list(classify_with_student(names, ColorPredictor(), ahead=ahead))
        server.shutdown()
    assert [one.image for one in found] == names
    assert found[1].problem == "The server answered with status 404."
    tops = [one.rows[0].text for number, one in enumerate(found) if number != 1]
    assert tops == ["red", "blue", "yellow", "green", "red", "red"]
    assert sorted(asked_for) == ["/0.png", "/2.png", "/3.png", "/4.png", "/none.png"]
