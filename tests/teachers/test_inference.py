"""The inference backend against a server on loopback that can be slow, busy, broken or cut off."""

from __future__ import annotations

import io
import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.config import TeacherConfig
from pipeline.errors import ConfigError, TeacherError
from pipeline.teachers import load_teacher
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.threads import embed
from tests.fake_inference import KEY, FakeInference, serving
from tests.fakes import photos, picture, sha256


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeInference]:
    monkeypatch.setenv("ROBOFLOW_API_KEY", KEY)
    with serving() as running:
        yield running


def load(server: FakeInference, **settings: Any) -> Any:
    settings = {"kind": "inference", "model": "default", "url": server.url, "retries": 3} | settings
    return load_teacher(TeacherConfig(**settings))


def test_vectors_are_the_servers_at_length_one(server: FakeInference) -> None:
    teacher = load(server)
    images = [picture("red"), picture("blue", 2, (90, 300))]
    found = teacher.embed_images([teacher.prepare(image) for image in images])
    wanted = np.stack([server.picture_vector(image) for image in images])
    assert found == pytest.approx(wanted / np.linalg.norm(wanted, axis=1, keepdims=True), abs=1e-4)
    texts = [f"prompt {number}" for number in range(19)]
    wanted = np.stack([server.text_vector(text) for text in texts])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert teacher.embed_texts(texts) == pytest.approx(wanted, abs=1e-4)


def test_comparing_gives_the_same_cosines_as_the_vectors(server: FakeInference) -> None:
    teacher = load(server)
    image, prompts = picture("green", 3), [f"thing {number}" for number in range(11)]
    vector = teacher.embed_images([teacher.prepare(image)])[0]
    cosines = teacher.compare(teacher.prepare(image), prompts)
    assert cosines == pytest.approx(teacher.embed_texts(prompts) @ vector, abs=1e-5)


def test_sentences_travel_eight_at_a_time_and_come_back_in_order(server: FakeInference) -> None:
    teacher = load(server)
    texts = [f"{number:02d} things" for number in range(17)]
    server.sentences.clear()
    found = teacher.embed_texts(texts)
    assert server.sentences == [texts[:8], texts[8:16], texts[16:]]
    wanted = np.stack([server.text_vector(text) for text in texts])
    assert found == pytest.approx(wanted / np.linalg.norm(wanted, axis=1)[:, None], abs=1e-5)
    server.sentences.clear()
    teacher.embed_texts(texts[:8])
    assert server.sentences == [texts[:8]]
    server.sentences.clear()
    cosines = teacher.compare(teacher.prepare(picture("green", 3)), texts)
    assert server.sentences == [texts[:8], texts[8:16], texts[16:]]
    single = [
        teacher.compare(teacher.prepare(picture("green", 3)), [text])[0] for text in texts[7:10]
    ]
    assert cosines[7:10] == pytest.approx(single, abs=1e-6)


def test_pictures_under_way_together_come_back_in_order(server: FakeInference) -> None:
    teacher = load(server, connections=4)
    images = [picture(name, seed) for name in ("red", "blue", "gray") for seed in range(4)]
    found = teacher.embed_images([teacher.prepare(image) for image in images])
    wanted = np.stack([server.picture_vector(image) for image in images])
    assert found == pytest.approx(wanted / np.linalg.norm(wanted, axis=1)[:, None], abs=1e-4)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("model", "size", "sent"),
    [
        ("default", (900, 448), (900, 448)),  # twice the 224 pixels of the model: as it is
        ("default", (900, 449), (898, 448)),
        ("default", (500, 1000), (448, 896)),
        ("ViT-L-14-336px", (900, 672), (900, 672)),
        ("ViT-L-14-336px", (1344, 1344), (672, 672)),
        ("default", (4, 20_000), (4, 20_000)),
    ],
)
def test_no_more_than_twice_the_models_pixels_travel(
    server: FakeInference, model: str, size: tuple[int, int], sent: tuple[int, int]
) -> None:
    teacher = load(server, model=model)
    data = teacher.prepare(Image.new("RGB", size, "teal")).tobytes()
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG" and image.size == sent


def test_the_version_is_part_of_the_fingerprint_and_of_the_name(server: FakeInference) -> None:
    default, same, other = (load(server, model=m) for m in ("default", "ViT-B-16", "ViT-B-32"))
    assert default.fingerprint == same.fingerprint != other.fingerprint
    assert (default.name, other.name) == ("inference ViT-B-16", "inference ViT-B-32")
    assert default.device == "the server 127.0.0.1" and default.logit_scale == 100.0


def test_clips_context_is_77_tokens_with_the_two_around_the_sentence(
    server: FakeInference,
) -> None:
    teacher = load(server)
    assert [teacher.context_overflow("cat " * words) for words in (1, 75, 76, 80)] == [0, 0, 1, 5]


def test_large_pictures_are_made_smaller_before_they_travel(server: FakeInference) -> None:
    teacher = load(server)
    for size, sent in (((2000, 1500), (597, 448)), ((300, 900), (300, 900))):
        travels = teacher.prepare(picture("red", 0, size)).tobytes()
        assert Image.open(io.BytesIO(travels)).size == sent


def test_a_busy_or_failing_server_is_asked_again(server: FakeInference) -> None:
    teacher = load(server)
    server.faults.extend([429, 500, "cut", 503])
    wanted = server.text_vector("a cat")
    found = teacher.embed_texts(["a cat"])[0]
    assert found == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-4)
    assert not server.faults


def test_no_more_requests_at_a_time_than_asked_for(server: FakeInference) -> None:
    teacher = load(server, connections=3)
    teacher.embed_images([teacher.prepare(picture("red", seed)) for seed in range(12)])
    assert 1 < server.most_at_once <= 3


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        (["garbage"], "no JSON"),
        (["text"], "not 1 embeddings"),
        ([404], "status 404"),
        ([302], "status 302"),
        ([403], "was refused"),
        ([500] * 9, "too busy or fails"),
        (["slow"] * 9, r"within 0\.2 s"),
        (["cut"] * 9, "cuts its answers off"),
    ],
)
def test_what_stays_broken_gets_a_sentence_without_the_key(
    server: FakeInference, faults: list[Any], says: str
) -> None:
    teacher = load(server, timeout=0.2 if "slow" in faults else 20.0, retries=1)
    server.faults.extend(faults)
    with pytest.raises(TeacherError, match=says) as caught:
        teacher.embed_texts(["a cat"])
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_the_key(server: FakeInference, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBOFLOW_API_KEY", "rf_wrong")
    with pytest.raises(TeacherError, match="was refused"):
        load(server)
    monkeypatch.delenv("ROBOFLOW_API_KEY")
    monkeypatch.setenv("ROBOFLOW_CONFIG_DIR", str(tmp_path / "config.json"))
    with pytest.raises(TeacherError, match="is missing"):
        load(server)
    (tmp_path / "config.json").write_text(
        json.dumps({"RF_WORKSPACE": "ws", "workspaces": {"1": {"url": "ws", "apiKey": KEY}}})
    )
    assert load(server).dim == 12
    assert not any("key" in path for path in server.asked)
    with pytest.raises(ConfigError, match="must not hold a key"):
        load(server, url=f"{server.url}/?api_key={KEY}")
    with pytest.raises(ConfigError, match="http"):
        load(server, url="infer.roboflow.com")


def test_nobody_there(server: FakeInference) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(TeacherError, match="cannot be reached"):
        load(server, retries=1)


def test_a_proxy_that_does_not_answer_is_named(
    server: FakeInference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://ann:secret@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(TeacherError, match=r"since the proxy 127\.0\.0\.1:9 does not") as caught:
        load(server, retries=1)
    assert "secret" not in str(caught.value) and not server.asked


def test_interrupted_work_goes_on(server: FakeInference, tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", {"red": 6, "blue": 6})
    pairs = [(sha256(path), path) for path in paths]
    teacher = load(server, connections=1)
    cache = EmbeddingCache(tmp_path / "cache", teacher.fingerprint)
    server.faults.extend([None] * 9 + [403])
    with pytest.raises(TeacherError, match="was refused"):
        embed(teacher, pairs, cache, batch=4)
    assert cache.has([one for one, _ in pairs]).sum() == 8
    server.asked.clear()
    done = embed(load(server), pairs, cache, batch=4)
    assert done.computed == 4 and cache.has([one for one, _ in pairs]).all()
    assert server.asked.count("/clip/embed_image") == 4
