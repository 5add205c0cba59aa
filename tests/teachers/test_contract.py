"""The protocol is all that anybody asks of a teacher, and cached vectors outlive its code."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pipeline.config import TeacherConfig
from pipeline.errors import SourceError
from pipeline.listener import Listener, no_progress
from pipeline.ontology import build_ontology
from pipeline.pixels import MAX_PIXELS, read_rgb
from pipeline.teachers import BACKENDS, load_teacher
from pipeline.teachers.base import Teacher
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines import devices, engine_for, threads
from pipeline.teachers.panel import Member, Panel, ask, in_words, load_panel, prompt_warnings
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts
from tests.fake_inference import KEY, serving
from tests.fakes import ColorTeacher, photos, picture, sha256
from tests.tiny_models import write_model

ONTOLOGY = build_ontology({"red": "warm", "yellow": "warm", "blue": "cold"})


def bytes_of(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def member(teacher: Teacher | None = None, **settings: Any) -> Member:
    teacher = teacher or ColorTeacher()
    asked = ZeroShot(teacher, ONTOLOGY, embed_prompts(teacher, ONTOLOGY), ONTOLOGY.classes)
    return Member(asked, TeacherConfig(**settings))


def test_every_backend_inherits_the_protocol() -> None:
    pytest.importorskip("transformers")
    for name in BACKENDS.values():
        backend = importlib.import_module(name)
        made = [one for one in vars(backend).values() if isinstance(one, type)]
        own = [one for one in made if one.__module__ == name and Teacher in one.__mro__]
        assert len(own) == 1, name


def test_what_a_backend_does_not_say_is_plain() -> None:
    teacher: Teacher = ColorTeacher()
    image = picture("red", 3)
    assert teacher.read(bytes_of(image), MAX_PIXELS) == pytest.approx(teacher.prepare(image))
    assert teacher.compare(teacher.prepare(image), ["red"]) is None
    assert (teacher.streams, teacher.precision, teacher.logit_bias) == (1, "fp32", 0.0)
    with pytest.raises(SourceError, match="max_pixels"):
        teacher.read(bytes_of(image), 100)


def test_fingerprints_are_those_of_earlier_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one would have everybody embed every image again."""
    prints = {
        precision: load_teacher(TeacherConfig(device="cpu", precision=precision)).fingerprint
        for precision in ("fp32", "bf16")
    }
    assert prints == {
        "fp32": "0e9bc30f5527b6a879a06da72ffcc44d62782f150e2bffd0719014ec583f60dc",
        "bf16": "4188220231c10904e8f8340b4d75094bf06d815e09a2634a25e63fda605af603",
    }
    monkeypatch.setenv("ROBOFLOW_API_KEY", KEY)
    with serving() as server:
        asked = load_teacher(TeacherConfig(kind="inference", model="default", url=server.url))
    assert asked.fingerprint == "373e77c29c0c58d84a34367e723b9b97f9e90539ce5ac16b5f67f74fe26e58f8"


def test_a_large_jpeg_is_read_with_fewer_pixels_where_the_geometry_allows(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    teacher: Any = load_teacher(
        TeacherConfig(model=f"local-dir:{tmp_path / 'model'}", device="cpu")
    )
    large = bytes_of(picture("red", 0, (1600, 1200)), "JPEG")
    whole = teacher.prepare(read_rgb(large))
    read = teacher.read(large, MAX_PIXELS)
    assert read.shape == whole.shape == (32, 32, 3)
    assert (read != whole).any()  # an eighth was decoded
    assert np.abs(read.astype(int) - whole).mean() < 2  # of 255
    teacher._geometry = None  # a model with rare settings
    rare = teacher.read(large, MAX_PIXELS)
    assert rare == pytest.approx(teacher.prepare(read_rgb(large)))


def test_members_own_their_settings(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    settings = [
        TeacherConfig(model=f"local-dir:{tmp_path / 'model'}", device="cpu", weight=3, batch=2),
        TeacherConfig(device="cpu", precision="fp32"),
    ]
    panel = load_panel(settings, ONTOLOGY, ONTOLOGY.classes)
    assert [one.settings for one in panel.members] == settings
    assert panel.weights == pytest.approx((0.75, 0.25))
    assert panel.name == "open_clip model + open_clip pocket"
    assert in_words(settings).startswith("the teachers open_clip local-dir:")
    assert in_words(settings[1:]) == "the teacher open_clip pocket"
    data = bytes_of(picture("red"))
    first, second = panel.read(data, MAX_PIXELS)
    assert first.shape == (32, 32, 3) and second.shape == (64, 64, 3)
    answer = panel.predict([panel.read(data, MAX_PIXELS)])
    alone = [m.zero_shot.predict([m.teacher.read(data, MAX_PIXELS)]) for m in panel.members]
    assert answer == pytest.approx(0.75 * alone[0] + 0.25 * alone[1], abs=1e-6)


def test_a_panel_is_asked_with_what_each_member_is_set_to(tmp_path: Path) -> None:
    class Ready(ColorTeacher):
        told: tuple[int, int, str] | None = None

        def get_ready(self, images: int, batch: int, compiling: str) -> None:
            self.told = images, batch, compiling

    teacher, other = Ready(), ColorTeacher()
    other.fingerprint = "c0103"  # its own part of the cache
    paths = photos(tmp_path / "p", {"red": 3, "blue": 2})
    (tmp_path / "p" / "red_001.png").write_bytes(b"damaged")
    rows = [(sha256(path), str(path)) for path in paths]
    images = pl.DataFrame(rows, {"id": pl.String, "path": pl.String}, orient="row")
    panel = Panel([member(teacher, batch=3, compile="never"), member(other, weight=3)])
    asked = ask(panel, images, MAX_PIXELS, Listener())
    assert teacher.told == (5, 3, "never") and sorted(teacher.batches) == [2, 2]
    assert other.batches == [4]  # what the first could not read is not shown to the second
    assert asked.ids.to_list() == [image_id for image_id, _ in rows if image_id != rows[1][0]]
    assert (asked.computed, asked.from_cache, list(asked.failures)) == (4, 0, [rows[1][0]])
    answers = asked.answers()
    assert answers.together.argmax(axis=1).tolist() == [0, 0, 1, 1]
    assert answers.by_prompt.shape == (4, 3)
    assert asked.answers(1, 3).together == pytest.approx(answers.together[1:3])
    again = ask(panel, images, MAX_PIXELS, Listener())
    assert (again.computed, again.from_cache) == (0, 4)


def test_warnings_are_everybodys() -> None:
    odd = build_ontology({"a red flurb": "red", "blue": "blue"})
    assert len(prompt_warnings(Panel([member(), member()]), odd)) == 2
    assert prompt_warnings(Panel([member()]), ONTOLOGY) == []


def test_the_engine_is_chosen_by_devices_and_images(tmp_path: Path) -> None:
    several = TeacherConfig(device="cuda:0,cuda:1")
    assert engine_for(several, 1000) is devices.run
    assert engine_for(several, 999) is engine_for(TeacherConfig(device="cpu"), 10**6) is threads.run


def test_both_engines_do_what_the_members_settings_say(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    settings = TeacherConfig(
        model=f"local-dir:{tmp_path / 'model'}", device="cpu,cpu", precision="fp32", batch=3
    )
    (one,) = load_panel([settings], ONTOLOGY, ONTOLOGY.classes).members
    paths = photos(tmp_path / "p", {"red": 4, "blue": 3})
    pairs = [(sha256(path), str(path)) for path in paths]
    pairs.append((sha256(_large(tmp_path)), str(tmp_path / "large.png")))
    found = []
    for engine in (threads.run, devices.run):
        cache = EmbeddingCache(tmp_path / engine.__module__, one.teacher.fingerprint)
        done = engine(one, pairs, cache, 10_000, no_progress)
        assert done.computed == 7 and list(done.failures) == [pairs[-1][0]]
        found.append(cache.vectors([image_id for image_id, _ in pairs[:-1]]))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def _large(folder: Path) -> Path:
    picture("green", 0, (101, 100)).save(folder / "large.png")
    return folder / "large.png"
