"""There is one way from an image file's bytes to what a predictor takes, and everybody goes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.classify import classify_with_student, classify_with_teachers
from pipeline.config import TeacherConfig
from pipeline.errors import SourceError
from pipeline.evaluation.measure import measure_latency, predict_files
from pipeline.ontology import build_ontology
from pipeline.pixels import read_rgb
from pipeline.records import Predictor
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines.threads import embed
from pipeline.teachers.panel import Member, Panel
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts
from tests.fakes import ColorPredictor, ColorTeacher, photos, sha256

LIMIT = 5000  # pixels


class _Reads:
    """Reads bytes by a way of its own, and lets nobody prepare a decoded picture."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.limits: list[int] = []

    def read(self, data: bytes, max_pixels: int) -> np.ndarray:
        self.limits.append(max_pixels)
        return super().prepare(read_rgb(data, max_pixels))  # type: ignore[misc,no-any-return]

    def prepare(self, image: Image.Image) -> np.ndarray:
        raise AssertionError("not the way")


class ReadingPredictor(_Reads, ColorPredictor):
    pass


class ReadingTeacher(_Reads, ColorTeacher):
    pass


def panel_of(teacher: ColorTeacher) -> tuple[Panel, Any]:
    ontology = build_ontology({"red": "red", "blue": "blue"})
    asked = ZeroShot(teacher, ontology, embed_prompts(teacher, ontology), ontology.classes)
    return Panel([Member(asked, TeacherConfig())]), ontology


def test_answers_on_files_and_their_time(tmp_path: Path) -> None:
    paths = photos(tmp_path, {"red": 4, "blue": 4})
    student = ReadingPredictor("student")
    panel, _ = panel_of(teacher := ReadingTeacher())
    for side in (student, panel):
        assert len(predict_files(side, paths, max_pixels=LIMIT).probabilities) == 8
    assert student.limits == teacher.limits == [LIMIT] * 8
    measure_latency([student, panel], [path.read_bytes() for path in paths], [4], LIMIT)
    for one in (student, teacher):  # 3 to warm up, each once alone, and batches
        assert len(one.limits) > 8 + 3 + 8 and set(one.limits) == {LIMIT}


def test_labeling_and_single_questions(tmp_path: Path) -> None:
    paths = photos(tmp_path / "p", {"red": 2, "blue": 2})
    panel, ontology = panel_of(teacher := ReadingTeacher())
    pairs = [(sha256(path), str(path)) for path in paths]
    embed(teacher, pairs, EmbeddingCache(tmp_path / "cache", "c"), max_pixels=LIMIT)
    names = [str(path) for path in paths]
    found = [
        one.rows[0].class_name for one in classify_with_teachers(names, panel, ontology, LIMIT)
    ]
    assert found == ["red", "red", "blue", "blue"]
    assert teacher.limits == [LIMIT] * 8
    student = ReadingPredictor()
    found = [one.rows[0].class_name for one in classify_with_student(names, student, LIMIT)]
    assert found == ["red", "red", "blue", "blue"] and student.limits == [LIMIT] * 4


def test_what_a_predictor_does_not_say_is_plain(tmp_path: Path) -> None:
    (path,) = photos(tmp_path, {"green": 1})
    student: Predictor = ColorPredictor()
    read = student.read(path.read_bytes(), LIMIT)
    assert (read == student.prepare(read_rgb(path))).all()
    with pytest.raises(SourceError, match="max_pixels"):
        student.read(path.read_bytes(), 100)
