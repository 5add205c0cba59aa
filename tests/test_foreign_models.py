"""Models from elsewhere: nothing that a file of theirs says is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import StudentError
from pipeline.student import Student, train
from tests.second_process import in_another_process
from tests.tiny_student import CLASSES, config, make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "dataset")


def code(marker: Path) -> str:
    """An expression that leaves a file behind when it is evaluated."""
    return f"__import__('pathlib').Path({str(marker)!r}).touch()"


def architecture(expression: str, field: str, marker: Path) -> dict[str, Any]:
    """A classifier's description with the expression in one of its fields."""
    described: dict[str, Any] = {
        "nc": 3, "scales": {"n": [0.33, 0.25, 1024]},
        "backbone": [[-1, 1, "Conv", [64, 3, 2]]], "head": [[-1, 1, "Classify", ["nc"]]],
    }  # fmt: skip
    if field == "module":
        described["backbone"].append([-1, 1, expression, [64]])
    elif field == "function":  # a name that ultralytics' own module knows, but no layer
        described["backbone"].append([-1, 1, "torch_safe_load", [str(marker)]])
    elif field == "argument":
        described["backbone"].append([-1, 1, "Conv", [64, expression]])
    elif field == "from":
        described["backbone"].append([expression, 1, "Conv", [64]])
    else:
        described[field] = expression
    return described


@pytest.mark.parametrize("field", ["activation", "module", "function", "argument", "from"])
def test_code_in_an_architecture_is_refused(field: str, dataset: Path, tmp_path: Path) -> None:
    marker, file = tmp_path / "ran", tmp_path / "evil-cls.yaml"
    file.write_text(yaml.safe_dump(architecture(code(marker), field, marker)))
    with pytest.raises(StudentError, match="evil-cls") as refused:
        train(dataset, tmp_path / "s", config(model=str(file)), CLASSES)
    assert not marker.exists() and "\n" not in str(refused.value)


def test_what_was_imported_before_makes_no_difference(tmp_path: Path) -> None:
    """Notebooks import ultralytics themselves, without the variable that restricts it."""
    marker, file = tmp_path / "ran", tmp_path / "evil-cls.yaml"
    file.write_text(yaml.safe_dump(architecture(code(marker), "activation", marker)))
    program = f"""
import ultralytics.nn.tasks
from pipeline.errors import StudentError
from pipeline.yolo.library import find_model
try:
    find_model({str(file)!r})
except StudentError as error:
    print(error)
"""
    assert "other code is refused" in in_another_process("-c", program)
    assert not marker.exists()


def test_an_ordinary_activation_is_kept(dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine-cls.yaml"
    file.write_text(yaml.safe_dump(architecture("nn.LeakyReLU(0.1)", "activation", tmp_path)))
    train(dataset, tmp_path / "s", config(model=str(file), epochs=1), CLASSES)
    assert Student.load(tmp_path / "s").classes == tuple(sorted(CLASSES))


def test_code_in_the_description_that_weights_carry(dataset: Path, tmp_path: Path) -> None:
    """Weights name their architecture, too, and a student is built from that name."""
    import torch

    from pipeline.yolo.library import load_checkpoint

    marker = tmp_path / "ran"
    train(dataset, tmp_path / "student", config(epochs=1), CLASSES)
    weights = tmp_path / "student" / "weights.pt"
    checkpoint = load_checkpoint(weights)
    checkpoint["model"].yaml["activation"] = code(marker)
    torch.save(checkpoint, weights)
    Student.load(tmp_path / "student")
    with pytest.raises(StudentError):
        train(dataset, tmp_path / "s", config(model=str(weights), epochs=1), CLASSES)
    assert not marker.exists()
