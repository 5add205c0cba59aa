"""A student in bf16 answers as in fp32, retrains nothing, and is refused where it gains nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import DeviceError
from pipeline.export.open import open_student
from pipeline.files import cache_dir
from pipeline.student import Student
from pipeline.student.precision import check_precision
from pipeline.student.settings import trained_with, training_digest
from pipeline.teachers.precision import gains_by_bf16, multiplies_bf16
from tests.fakes import picture
from tests.tiny_student import CLASSES, config

needs_bf16 = pytest.mark.skipif(not multiplies_bf16(), reason="this processor multiplies no bf16")


@pytest.fixture
def taught(three_colors: Path) -> Path:
    """The folder of a student that has learned three colors."""
    return three_colors / "student"


@needs_bf16
@pytest.mark.parametrize("images", [1, 30])
def test_it_answers_as_in_fp32(taught: Path, images: int) -> None:
    exact, lowered = (Student.load(taught, "cpu", one) for one in ("fp32", "bf16"))  # type: ignore[arg-type]
    assert (exact.precision, lowered.precision) == ("fp32", "bf16")
    names = [CLASSES[number % 3] for number in range(images)]
    batch = [exact.prepare(picture(name, 900 + i)) for i, name in enumerate(names)]
    expected, found = exact.see(batch), lowered.see(batch)
    assert (found[0].argmax(axis=1) == expected[0].argmax(axis=1)).all()
    assert np.abs(found[0] - expected[0]).max() < 0.02
    # bf16 was computed with; and the last layer and the softmax were not rounded to it.
    assert not np.array_equal(found[1], expected[1])
    assert {one.dtype for one in found} == {np.dtype(np.float32)}
    assert found[0].sum(axis=1) == pytest.approx(np.ones(images), abs=1e-5)
    for one, other in zip(exact.last_layer, lowered.last_layer, strict=True):
        assert np.array_equal(one, other)


@needs_bf16
def test_where_it_looks_is_seen_in_bf16_too(taught: Path) -> None:
    lowered = Student.load(taught, "cpu", "bf16")
    batch = [lowered.prepare(picture("red", 7))]
    maps = lowered.evidence(batch)
    logits = maps.mean(axis=(2, 3))[0] + lowered.last_layer[1]
    shares = np.exp(logits - logits.max())
    assert shares / shares.sum() == pytest.approx(lowered.predict(batch)[0], abs=0.02)


@needs_bf16
def test_whoever_opens_a_student_may_ask_for_it(taught: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.pt"
    shutil.copy(taught / "weights.pt", alone)
    for place in (taught, taught / "weights.pt", alone):
        assert open_student(place, "cpu", "bf16").precision == "bf16"
        assert open_student(place, "cpu").precision == "fp32"
    picture("green", 5).save(tmp_path / "a.png")
    command = ["classify", str(tmp_path / "a.png"), "--student", str(taught), "--device", "cpu"]
    done = CliRunner().invoke(main, [*command, "--precision", "bf16", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["answers"][0]["class"] == "green"


@needs_bf16
@pytest.mark.parametrize("gains", [True, False])
def test_where_it_only_takes_longer_that_is_said(taught: Path, tmp_path: Path, gains: bool) -> None:
    gains_by_bf16.cache_clear()
    gains_by_bf16()
    (record,) = (cache_dir() / "precision").iterdir()
    record.write_text(json.dumps({"fp32": 2.0 if gains else 0.5, "bf16": 1.0}))
    gains_by_bf16.cache_clear()
    picture("green", 5).save(tmp_path / "a.png")
    command = ["classify", str(tmp_path / "a.png"), "--student", str(taught), "--device", "cpu"]
    try:
        for precision, said in (("bf16", not gains), ("fp32", False)):
            done = CliRunner().invoke(main, [*command, "--precision", precision])
            assert done.exit_code == 0
            assert ("multiplies fp32 faster than bf16" in done.stderr) == said
            assert "green" in done.stdout
    finally:
        gains_by_bf16.cache_clear()


def test_precision_is_for_students_alone(tmp_path: Path) -> None:
    command = ["classify", "a.png", "-p", "a", "-p", "b", "--precision", "bf16"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2 and "`--precision` is for students" in done.output


@pytest.mark.usefixtures("without_bf16")
def test_it_is_refused_where_the_processor_has_none(taught: Path) -> None:
    for place in (taught, taught / "weights.pt"):
        with pytest.raises(DeviceError, match=r"`student\.precision: bf16` .* cpu .* does not\."):
            open_student(place, "cpu", "bf16")
    assert Student.load(taught, "cpu").precision == "fp32"


def test_other_devices_are_not_known_to_have_it() -> None:
    check_precision("fp32", "mps")
    with pytest.raises(DeviceError, match="mps of this machine does not"):
        check_precision("bf16", "mps")


def test_it_names_no_training() -> None:
    lowered, exact = config(precision="bf16"), config()
    assert training_digest("x", lowered, CLASSES) == training_digest("x", exact, CLASSES)
    assert trained_with(lowered) == trained_with(exact)
    assert "precision" not in trained_with(lowered)  # nor did cards of before hold it
