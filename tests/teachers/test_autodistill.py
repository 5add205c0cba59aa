"""The autodistill backend, on a real autodistill-clip with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autodistill.detection import CaptionOntology

from pipeline.config import TeacherConfig
from pipeline.errors import ConfigError, TeacherError
from pipeline.ontology import build_ontology
from pipeline.teachers import load_teacher
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.threads import embed
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts
from tests.fakes import photos, picture, sha256
from tests.teachers import tiny_autodistill

PROMPTS = {"a red thing": "red", "a crimson thing": "red", "a blue thing": "blue"}


def load(name: str, prompts: Any = tuple(PROMPTS)) -> Any:
    settings = TeacherConfig(kind="autodistill", model=f"tests.teachers.tiny_autodistill.{name}")
    return load_teacher(settings, prompts)


def test_its_answers_arrive_and_prompts_of_one_class_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = photos(tmp_path / "photos", {"red": 2, "blue": 2})
    theirs = tiny_autodistill.Tiny(CaptionOntology({name: name for name in PROMPTS}))
    assert (tmp_path / "it_ran").exists()  # the fake does what the real constructor does
    (tmp_path / "it_ran").unlink()
    wanted = np.stack([theirs.predict(str(path)).confidence for path in paths])

    ontology = build_ontology(PROMPTS)
    teacher = load("Tiny")
    assert not (tmp_path / "it_ran").exists()
    ours = ZeroShot(teacher, ontology, embed_prompts(teacher, ontology), ontology.classes)
    from PIL import Image

    found = ours.predict([teacher.prepare(Image.open(path)) for path in paths])
    assert found[:, 0] == pytest.approx(wanted[:, 0] + wanted[:, 1], abs=1e-4)
    assert found[:, 1] == pytest.approx(wanted[:, 2], abs=1e-4)


def test_answers_are_cached_by_image_teacher_and_prompts(tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", {"red": 2, "blue": 1})
    pairs = [(sha256(path), path) for path in paths]
    first, again, other = load("Tiny"), load("Tiny"), load("Tiny", ["a cat", "a dog"])
    assert embed(first, pairs, EmbeddingCache(tmp_path, first.fingerprint)).computed == 3
    assert embed(again, pairs, EmbeddingCache(tmp_path, again.fingerprint)).computed == 0
    assert embed(other, pairs, EmbeddingCache(tmp_path, other.fingerprint)).computed == 3


def test_a_model_that_names_one_prompt_only(tmp_path: Path) -> None:
    ontology = build_ontology(PROMPTS)
    teacher = load("TopOne")
    ours = ZeroShot(teacher, ontology, embed_prompts(teacher, ontology), ontology.classes)
    found = ours.predict([teacher.prepare(picture("red"))])
    assert found == pytest.approx(np.array([[0, 1]]), abs=1e-6)


def test_what_cannot_be_used_gets_a_sentence() -> None:
    with pytest.raises(TeacherError, match="does not allow"):
        load("Installer")
    with pytest.raises(TeacherError, match="something else than a classification"):
        load("Nonsense").embed_images([np.zeros((4, 4, 3), np.uint8)])
    with pytest.raises(ConfigError, match="no class 'Missing'"):
        load("Missing")
    with pytest.raises(TeacherError, match="pip install autodistill-nothing"):
        load_teacher(TeacherConfig(kind="autodistill", model="autodistill_nothing.X"), ["a"])
    with pytest.raises(ConfigError, match="a package and a class"):
        load_teacher(TeacherConfig(kind="autodistill", model="clip"), ["a"])
    ontology = build_ontology(PROMPTS, ["a {}", "the {}"])
    with pytest.raises(ConfigError, match="cannot average templates"):
        embed_prompts(load("TopOne", ontology.sentences), ontology)
