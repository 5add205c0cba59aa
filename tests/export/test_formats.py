"""Every format that this machine can write answers as the student does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StudentError
from pipeline.export.folder import write_export
from pipeline.export.formats import FORMATS, Format, Job, missing
from pipeline.export.known import read_export
from pipeline.export.open import open_student
from pipeline.pixels import read_rgb
from pipeline.student import Student
from tests.export.made import no_calibration, of_student, pictures

EACH = [(one.name, precision) for one in FORMATS.values() for precision in one.precisions]
NEAR = {"fp32": 1e-4, "fp16": 0.02, "int8": 0.15}  # of a probability


@pytest.mark.parametrize(("name", "precision"), EACH)
def test_it_answers_as_the_student_does(
    name: str, precision: str, student: Path, tmp_path: Path
) -> None:
    wanted = FORMATS[name]
    if reason := missing(wanted, precision):
        pytest.skip(reason)
    paths = pictures(student)
    seen = Student.load(student, "cpu")

    def calibration() -> np.ndarray:
        trained = sorted((student.parent / "dataset" / "train").rglob("*.png"))
        return np.stack([seen.prepare(read_rgb(path)) for path in trained])

    write_export(wanted, precision, student, tmp_path / "made", calibration)
    known = read_export(tmp_path / "made")
    assert known is not None and known.whole and not known.passed  # nothing was proved
    if reason := wanted.unprovable():
        pytest.skip(reason)
    found = open_student(tmp_path / "made")
    assert found.classes == seen.classes and found.parameters == seen.parameters
    shares, features = of_student(student, paths)
    batch = [found.prepare(read_rgb(path)) for path in paths]
    together, theirs = found.see(batch)
    assert together == pytest.approx(shares, abs=NEAR[precision])
    assert together.sum(axis=1) == pytest.approx(np.ones(len(paths)), abs=1e-3)  # one softmax
    sure = np.sort(shares, axis=1)[:, -1] - np.sort(shares, axis=1)[:, -2] > 2 * NEAR[precision]
    assert (together.argmax(axis=1) == shares.argmax(axis=1))[sure].all() and sure.any()
    assert theirs.shape == features.shape and together.dtype == theirs.dtype == np.float32
    alone = np.concatenate([found.predict([one]) for one in batch[:3]])
    assert alone == pytest.approx(together[:3], abs=NEAR[precision])


def test_the_softmax_is_in_the_graph_once(onnx: Path) -> None:
    from onnx import load

    graph = load(str(onnx / "model.onnx")).graph
    assert [node.op_type for node in graph.node].count("Softmax") == 1
    assert [one.name for one in graph.input] == ["images"]
    assert [one.name for one in graph.output] == ["probabilities", "features"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


class Imagined(Format):
    """A format whose converter nobody has."""

    name, title = "imagined", "Imagined"
    precisions = ("fp32", "int8")
    packages, packages_int8 = ("no_such_converter",), ("nor_this.one",)
    extra, runtime, batch = "imagined", "no-such-runtime", None

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        raise AssertionError("it cannot be asked")


def test_what_is_missing_is_said_in_a_sentence() -> None:
    said = missing(Imagined(), "fp32")
    assert said is not None and "no-such-converter" in said
    assert "pip install 'clip2yolo[imagined]'" in said
    both = missing(Imagined(), "int8")
    assert both is not None and "no-such-converter and nor-this.one" in both
    refused = missing(Imagined(), "fp16")
    assert refused == "Imagined is not exported in fp16 here, but in fp32 and int8."


class Failing(Imagined):
    """A converter that does not know a layer, and says so at length."""

    packages, packages_int8 = (), ()

    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        print("a banner")
        raise RuntimeError("unsupported operator\n\n" + "aten::strange " * 100)


def test_a_converter_that_fails_is_quoted_in_a_sentence(
    student: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StudentError, match="converted to Imagined in fp32") as found:
        write_export(Failing(), "fp32", student, tmp_path / "made", no_calibration)
    assert "unsupported operator aten::strange" in str(found.value)
    assert len(str(found.value)) < 500 and capfd.readouterr().out == ""


def test_every_extra_is_declared() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    declared = set(re.findall(r"^(\w+) = \[", project, re.MULTILINE))
    assert {one.extra for one in FORMATS.values()} <= declared
