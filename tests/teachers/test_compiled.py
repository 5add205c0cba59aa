"""Compiling changes the speed and nothing else, and is chosen by what was measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.files import cache_dir
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.compiled import Rates, choose
from pipeline.teachers.engines.threads import embed
from tests.fakes import photos, sha256
from tests.tiny_models import load, write_model


def test_it_pays_only_on_long_runs() -> None:
    rates = Rates(eager=0.010, compiled=0.006, seconds=30.0)
    assert not rates.pays(1_000) and not rates.pays(7_499) and rates.pays(7_600)
    assert not Rates(eager=0.010, compiled=0.012, seconds=1.0).pays(10**9)


@torch.compiler.disable
def double(images: torch.Tensor) -> torch.Tensor:
    """Left alone by the compiler, so that a trial needs none and takes no time."""
    return images * 2


def test_short_runs_are_not_measured() -> None:
    example = torch.zeros(2, 3, 4, 4)
    assert choose(double, example, 10, "t", "auto") is double
    assert choose(double, example, 10**12, "t", "never") is double
    assert not list(cache_dir().glob("compiled/*"))


@pytest.mark.slow
def test_a_remembered_measurement_decides() -> None:
    example = torch.zeros(2, 3, 4, 4)
    choose(double, example, 10**12, "t", "auto")
    (record,) = cache_dir().glob("compiled/*.json")
    rates = json.loads(record.read_text())
    assert set(rates) == {"eager", "compiled", "seconds"} and rates["eager"] > 0
    record.write_text(json.dumps({"eager": 1.0, "compiled": 0.5, "seconds": 100.0}))
    assert choose(double, example, 150, "t", "auto") is double
    assert choose(double, example, 300, "t", "auto") is not double
    record.write_text("{")
    assert choose(double, example, 10, "t", "auto") is double


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_vectors_are_the_same_also_of_the_last_batch(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    pairs = [(sha256(path), str(path)) for path in photos(tmp_path / "p", {"red": 7, "blue": 6})]
    found = []
    for compiling in ("never", "always"):
        teacher = load(f"local-dir:{tmp_path / 'model'}", precision="fp32")
        cache = EmbeddingCache(tmp_path / compiling, "c")
        embed(teacher, pairs, cache, batch=4, compiling=compiling)
        found.append(cache.vectors([one for one, _ in pairs]))
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert np.isfinite(found[0]).all()
