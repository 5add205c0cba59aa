"""What the tests of exports share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.pixels import read_rgb
from pipeline.student import Student

# Color of the pictures → name of their class.
NAMED = {
    "green": "</script><img src=x onerror=alert(1)>",
    "red": "rot \N{RIGHT-TO-LEFT OVERRIDE} \"; DROP 'x' %s {0}",
    "blue": "blue",
}


def no_calibration() -> np.ndarray:
    """For precisions that need none."""
    raise AssertionError("fp32 and fp16 measure no ranges")


def pictures(student: Path) -> list[Path]:
    """The images that a student was not trained on."""
    return sorted((student.parent / "dataset" / "test").rglob("*.png"))


def of_student(student: Path, paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Its probabilities and features in PyTorch."""
    opened = Student.load(student, "cpu")
    return opened.see([opened.prepare(read_rgb(path)) for path in paths])
