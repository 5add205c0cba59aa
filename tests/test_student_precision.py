"""A student in bf16 answers as in fp32, retrains nothing, and is refused where it gains nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import DeviceError, StudentError
from pipeline.export.open import open_student
from pipeline.files import cache_dir
from pipeline.student import Student, train
from pipeline.student.fit_unlike import fit_in_bf16
from pipeline.student.lessons import hard_lessons
from pipeline.student.precision import pick_precision
from pipeline.student.settings import trained_with, training_digest
from pipeline.student.unlike import IN_BF16, Unlike
from pipeline.teachers.precision import gains_by_bf16
from tests.fakes import picture
from tests.tiny_student import CLASSES, LESSONS, config


@pytest.fixture
def taught(three_colors: Path) -> Path:
    """The folder of a student that has learned three colors."""
    return three_colors / "student"


@pytest.mark.usefixtures("with_bf16")
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


@pytest.mark.usefixtures("with_bf16")
def test_where_it_looks_is_seen_in_bf16_too(taught: Path) -> None:
    lowered = Student.load(taught, "cpu", "bf16")
    batch = [lowered.prepare(picture("red", 7))]
    maps = lowered.evidence(batch)
    logits = maps.mean(axis=(2, 3))[0] + lowered.last_layer[1]
    shares = np.exp(logits - logits.max())
    assert shares / shares.sum() == pytest.approx(lowered.predict(batch)[0], abs=0.02)


@pytest.mark.usefixtures("with_bf16")
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


@pytest.fixture(params=[True, False], ids=["gains", "loses"])
def gains(request: pytest.FixtureRequest, with_bf16: None) -> Iterator[bool]:
    """Whether this processor was found to multiply bf16 faster than fp32."""
    gains_by_bf16.cache_clear()
    gains_by_bf16()
    (record,) = (cache_dir() / "precision").iterdir()
    record.write_text(json.dumps({"fp32": 2.0 if request.param else 0.5, "bf16": 1.0}))
    gains_by_bf16.cache_clear()
    yield bool(request.param)
    gains_by_bf16.cache_clear()


@pytest.mark.usefixtures("with_bf16")
def test_where_it_only_takes_longer_that_is_said(taught: Path, tmp_path: Path, gains: bool) -> None:
    picture("green", 5).save(tmp_path / "a.png")
    command = ["classify", str(tmp_path / "a.png"), "--student", str(taught), "--device", "cpu"]
    for precision, said in (("bf16", not gains), ("fp32", False), ("auto", False)):
        done = CliRunner().invoke(main, [*command, "--precision", precision])
        assert done.exit_code == 0
        assert ("multiplies fp32 faster than bf16" in done.stderr) == said
        assert "green" in done.stdout


@pytest.fixture
def tried(three_colors: Path, tmp_path: Path, with_bf16: None) -> Path:
    """A student of which training has found that it answers alike in bf16."""
    folder = shutil.copytree(three_colors / "student", tmp_path / "tried")
    found = _in_bf16(folder, three_colors / "dataset")
    assert found is not None
    found.save(folder, IN_BF16)
    return folder


def _in_bf16(
    folder: Path, dataset: Path, kind: type[Student] = Student, valid: bool = True
) -> Unlike | None:
    exact, lowered = Student.load(folder, "cpu"), kind.load(folder, "cpu", "bf16")
    lessons = hard_lessons(dataset, sorted(CLASSES))
    if not valid:
        lessons.samples["valid"].clear()
    known = Unlike.load(folder, len(CLASSES))
    assert known is not None
    return fit_in_bf16(known, exact, lowered, lessons, 10**6)


def test_auto_is_what_the_processor_multiplies_faster(tried: Path, gains: bool) -> None:
    assert config().precision == "auto"
    for place in (tried, tried / "weights.pt"):
        found = open_student(place, "cpu", "auto")
        assert isinstance(found, Student) and found.precision == ("bf16" if gains else "fp32")
    # Elsewhere nothing was found to gain by it.
    assert pick_precision("auto", "mps") == pick_precision("auto", "cuda:0") == "fp32"


@pytest.mark.parametrize("gains", [True], indirect=True)
def test_training_tries_it_where_it_gains(three_colors: Path, tmp_path: Path, gains: bool) -> None:
    settings = config(epochs=14, train=LESSONS, device="cpu")
    train(three_colors / "dataset", tmp_path / "student", settings, CLASSES)
    student = Student.load(tmp_path / "student", "cpu", "auto")
    assert student.precision == "bf16" and student.can_refuse


@pytest.mark.parametrize("gains", [True], indirect=True)
def test_auto_is_fp32_of_who_was_not_tried_in_bf16(tried: Path, gains: bool) -> None:
    alone = tried.parent / "alone.pt"
    shutil.copy(tried / "weights.pt", alone)
    (tried / IN_BF16).unlink()
    for place in (alone, tried):
        assert open_student(place, "cpu", "auto").precision == "fp32"
        assert open_student(place, "cpu", "bf16").precision == "bf16"


def test_what_is_unlike_is_known_of_bf16_by_itself(three_colors: Path, tried: Path) -> None:
    exact, lowered = (Student.load(tried, "cpu", one) for one in ("fp32", "bf16"))  # type: ignore[arg-type]
    assert exact.unlike is not None and lowered.unlike is not None
    assert np.array_equal(exact.unlike.means, lowered.unlike.means)
    assert not np.array_equal(exact.unlike.middle, lowered.unlike.middle)
    held_out = sorted((three_colors / "dataset" / "valid").rglob("*.png"))
    for student in (exact, lowered):
        batch = [student.read(path.read_bytes(), 10**6) for path in held_out]
        scores = np.sort(student.unlike.scores(student.see(batch)[1]))  # type: ignore[union-attr]
        assert scores == pytest.approx(student.unlike.held_out, abs=0.02)  # type: ignore[union-attr]


def test_who_answers_otherwise_in_bf16_is_not_asked_in_it(three_colors: Path, tried: Path) -> None:
    class Contrary(Student):
        """Sees the opposite of what is there."""

        def see(self, batch: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            probabilities, features = super().see(batch)
            return probabilities, -features

    dataset = three_colors / "dataset"
    assert _in_bf16(tried, dataset) is not None
    assert _in_bf16(tried, dataset, Contrary) is None
    assert _in_bf16(tried, dataset, valid=False) is None  # nobody knows


@pytest.mark.parametrize("gains", [True], indirect=True)
def test_what_is_known_of_bf16_and_damaged_is_said(tried: Path, gains: bool) -> None:
    (tried / IN_BF16).write_bytes(b"PK")
    assert Student.load(tried, "cpu", "fp32").precision == "fp32"
    with pytest.raises(StudentError, match=r"unlike-bf16\.npz is damaged\. Run `clip2yolo train`"):
        Student.load(tried, "cpu", "auto")


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
    assert Student.load(taught, "cpu", "auto").precision == "fp32"


def test_other_devices_are_not_known_to_have_it() -> None:
    assert pick_precision("fp32", "mps") == "fp32"
    with pytest.raises(DeviceError, match="mps of this machine does not"):
        pick_precision("bf16", "mps")


def test_it_names_no_training() -> None:
    lowered, exact = config(precision="bf16"), config()
    assert training_digest("x", lowered, CLASSES) == training_digest("x", exact, CLASSES)
    assert trained_with(lowered) == trained_with(exact)
    assert "precision" not in trained_with(lowered)  # nor did cards of before hold it
