"""`precision: auto` on a processor: bf16 where it was measured to be faster, or else fp32."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.files import cache_dir
from pipeline.machine import processor
from pipeline.teachers.precision import gains_by_bf16, multiplies_bf16
from tests.tiny_models import load, write_model


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Nothing is known from before, nor afterwards what a test has written."""
    gains_by_bf16.cache_clear()
    yield
    gains_by_bf16.cache_clear()


def precision_of(model: Path, **settings: str) -> str:
    gains_by_bf16.cache_clear()  # as in another process
    said: str = load(f"local-dir:{model}", device="cpu", **settings).precision
    return said


@pytest.mark.skipif(not multiplies_bf16(), reason="this processor multiplies no bf16")
def test_what_was_measured_decides_and_is_remembered(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    chosen = precision_of(tmp_path / "model")
    (record,) = (cache_dir() / "precision").iterdir()
    seconds = json.loads(record.read_text())
    assert min(seconds.values()) > 0
    assert chosen == ("bf16" if seconds["fp32"] >= 1.2 * seconds["bf16"] else "fp32")
    for fp32, expected in ((2.0, "bf16"), (1.1, "fp32"), (0.5, "fp32")):
        record.write_text(json.dumps({"fp32": fp32, "bf16": 1.0}))
        assert precision_of(tmp_path / "model") == expected
        # Who asks for one gets it, whatever was measured.
        for asked in ("fp32", "bf16"):
            assert precision_of(tmp_path / "model", precision=asked) == asked
    assert [*(cache_dir() / "precision").iterdir()] == [record]


@pytest.mark.skipif(not multiplies_bf16(), reason="this processor multiplies no bf16")
@pytest.mark.parametrize("damage", ["", "{", "[]", '{"fp32": "fast", "bf16": 1}', '{"bf16": 1}'])
def test_a_damaged_record_is_measured_anew(damage: str) -> None:
    gains_by_bf16()
    (record,) = (cache_dir() / "precision").iterdir()
    record.write_text(damage)
    gains_by_bf16.cache_clear()
    gains_by_bf16()
    assert set(json.loads(record.read_text())) == {"fp32", "bf16"}


@pytest.mark.skipif(not multiplies_bf16(), reason="this processor multiplies no bf16")
@pytest.mark.skipif(os.name == "nt", reason="folders that take nothing are of other systems")
def test_a_cache_that_takes_nothing_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("CLIP2YOLO_CACHE", str(tmp_path / "cache"))
    assert gains_by_bf16() in (True, False)


@pytest.mark.usefixtures("without_bf16")
def test_where_there_is_no_bf16_nothing_is_measured(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    assert precision_of(tmp_path / "model") == "fp32"
    assert not (cache_dir() / "precision").exists()


def test_the_processor_says_what_it_is() -> None:
    assert processor() and "\n" not in processor()
