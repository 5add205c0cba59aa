"""A space is shown a run's images as a teacher is: cached, resumed, on several devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline.config import SpaceConfig, StudentConfig, TeacherConfig
from pipeline.files import cache_dir
from pipeline.listener import Listener, no_progress
from pipeline.ontology import build_ontology
from pipeline.pixels import MAX_PIXELS
from pipeline.spaces import load_space
from pipeline.spaces.see import Onlooker, identity_of, see
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines import devices, threads
from pipeline.teachers.panel import ask, load_panel
from tests.fakes import photos
from tests.spaces.tiny_spaces import settings_of, table_of, write_timm, write_yolo
from tests.tiny_models import write_model


@pytest.fixture
def images(tmp_path: Path) -> pl.DataFrame:
    return table_of(photos(tmp_path / "photos", {"red": 4, "blue": 4}))


def test_a_second_look_computes_nothing(tmp_path: Path, images: pl.DataFrame) -> None:
    write_timm(tmp_path / "model")
    settings = settings_of("timm", tmp_path / "model")
    first = see(settings, StudentConfig(), images)
    again = see(settings, StudentConfig(), images)
    assert (first.name, first.computed, again.computed) == ("timm model", 8, 0)
    assert first.fingerprint == again.fingerprint
    ids = images["id"].to_list()
    assert first.vectors(ids) == pytest.approx(again.vectors(ids))
    assert np.linalg.norm(again.vectors(ids), axis=1) == pytest.approx(1.0, abs=1e-5)
    assert first.vectors([]).shape == (0, first.dim)


def test_what_a_killed_run_has_seen_is_not_seen_again(tmp_path: Path, images: pl.DataFrame) -> None:
    write_timm(tmp_path / "model")
    settings = settings_of("timm", tmp_path / "model")
    first = see(settings, StudentConfig(), images[:5])
    assert see(settings, StudentConfig(), images).computed == 3
    # A shard that was cut off is embedded again.
    folder = cache_dir() / "embeddings" / first.fingerprint
    cut = max(folder.glob("*.vectors.npy"), key=lambda path: path.stat().st_size)
    cut.write_bytes(cut.read_bytes()[:200])
    whole = see(settings, StudentConfig(), images)
    assert 0 < whole.computed < 8 and whole.vectors(images["id"].to_list()).shape[0] == 8


def test_what_cannot_be_read_is_named(tmp_path: Path, images: pl.DataFrame) -> None:
    write_timm(tmp_path / "model")
    Path(images["path"][2]).write_bytes(b"damaged")
    seen = see(settings_of("timm", tmp_path / "model"), StudentConfig(), images)
    assert list(seen.failures) == [images["id"][2]] and seen.computed == 7
    with pytest.raises(KeyError):
        seen.vectors([images["id"][2]])


def test_a_teacher_s_vectors_are_not_computed_twice(tmp_path: Path, images: pl.DataFrame) -> None:
    write_model(tmp_path / "model")
    teacher = TeacherConfig(model=f"local-dir:{tmp_path / 'model'}", device="cpu")
    ontology = build_ontology({"red": "warm", "blue": "cold"})
    asked = ask(load_panel([teacher], ontology, ontology.classes), images, MAX_PIXELS, Listener())
    assert asked.computed == 8
    seen = see(SpaceConfig(model=teacher.model, device="cpu"), StudentConfig(), images)
    assert seen.computed == 0
    assert seen.vectors(images["id"].to_list()) == pytest.approx(
        asked.vectors(images["id"].to_list())
    )


def test_both_engines_see_the_same(tmp_path: Path, images: pl.DataFrame) -> None:
    write_timm(tmp_path / "model")
    settings = settings_of("timm", tmp_path / "model", device="cpu,cpu", batch=3)
    viewer = Onlooker(load_space(settings), settings)
    found = []
    for engine in (threads.run, devices.run):
        cache = EmbeddingCache(tmp_path / engine.__module__, viewer.sight.fingerprint)
        assert engine(viewer, images, cache, MAX_PIXELS, no_progress).computed == 8
        found.append(cache.vectors(images["id"].to_list()))
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_the_digest_of_a_stage_follows_the_files(tmp_path: Path) -> None:
    student = StudentConfig(model=str(tmp_path / "mine.pt"))
    write_yolo(tmp_path / "mine.pt")
    write_timm(tmp_path / "model")
    spaces = [
        SpaceConfig(kind="student"),
        settings_of("timm", tmp_path / "model"),
        SpaceConfig(model="dinov2-small"),
    ]
    before = [identity_of(space, student) for space in spaces]
    elsewhere = [space.model_copy(update={"device": "cpu", "batch": 7}) for space in spaces]
    assert [identity_of(space, student) for space in elsewhere] == before
    write_yolo(tmp_path / "mine.pt", seed=1)
    write_timm(tmp_path / "model", seed=1)
    after = [identity_of(space, student) for space in spaces]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]
    assert identity_of(SpaceConfig(model="dinov2-base"), student) != before[2]
