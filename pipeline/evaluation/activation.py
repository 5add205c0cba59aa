"""Where a student looks: class activation maps of its answers, laid over the pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.errors import SourceError
from pipeline.evaluation.analysis_record import Activation
from pipeline.evaluation.record import Disagreement
from pipeline.pixels import read_rgb
from pipeline.student import Student

Box = tuple[float, float, float, float]


def activation_map(
    student: Student, image: Image.Image, class_name: str | None = None
) -> np.ndarray:
    """Return where in a picture a student finds what speaks for a class rather than for the others,
    float32 (height, width) from 0 to 1: 1 at the place that speaks for it most, 0 at the one that
    does least, and where the picture was cropped, so that the student sees nothing.

    The map of a student at 224 pixels has 7 x 7 places, and at 96 pixels 3 x 3; in between it is
    interpolated.

    Args:
        student: who is asked.
        image: RGB, upright, of any size.
        class_name: one of the student's; by default its answer.

    Raises:
        ValueError: the student has no such class.
    """
    grid, box, _ = _look(student, image, class_name)
    return spread(grid, box, image.width, image.height)


def spread(
    grid: np.ndarray | Sequence[Sequence[float]], box: Box, width: int, height: int
) -> np.ndarray:
    """Lay a grid over a picture of any size, float32 (height, width): bilinear between the middles
    of its cells, and 0 beyond it.

    Args:
        grid: (h, w) values from 0 to 1.
        box: where it lies, see `Activation.box`.
        width: of the picture, in pixels.
        height: likewise.
    """
    cells = np.asarray(grid, np.float32)
    left, top, right, bottom = box
    down, inside_down = _weights(height, top, bottom, cells.shape[0])
    across, inside_across = _weights(width, left, right, cells.shape[1])
    found: np.ndarray = down @ cells @ across.T
    found[~inside_down] = 0
    found[:, ~inside_across] = 0
    return found


def activations(
    student: Student, mistakes: Sequence[Disagreement], max_pixels: int
) -> list[Activation]:
    """Return where the student looked when it gave each answer; pictures that cannot be read any
    more are left out.

    Args:
        student: who answered.
        mistakes: what it answered wrong, or otherwise than its teacher.
        max_pixels: larger pictures are not decoded.
    """
    found = []
    for one in mistakes:
        try:
            image = read_rgb(one.path, max_pixels)
        except SourceError:
            continue
        grid, box, class_name = _look(student, image, one.student)
        rows = [[round(value, 3) for value in row] for row in grid.tolist()]
        found.append(Activation(one.id, one.path, class_name, rows, box))
    return found


def mistakes_among(disagreements: Sequence[Disagreement]) -> list[Disagreement]:
    """Return those on which the student is wrong, or without truth of another mind than its
    teacher."""
    return [one for one in disagreements if one.student != (one.truth or one.teacher)]


def _look(
    student: Student, image: Image.Image, class_name: str | None
) -> tuple[np.ndarray, Box, str]:
    """The grid (h, w) of a class, scaled from 0 to 1, where it lies, and the class."""
    from pipeline.yolo.geometry import seen_part

    prepared = student.prepare(image)
    if class_name is None:
        class_name = student.classes[int(student.predict([prepared])[0].argmax())]
    elif class_name not in student.classes:
        raise ValueError(f"{student.name} has no class {class_name!r}")
    maps = student.evidence([prepared])[0]
    # What speaks for all classes alike changes no probability.
    grid = maps[student.classes.index(class_name)] - maps.mean(axis=0)
    low, high = float(grid.min()), float(grid.max())
    # A map without differences says that no place speaks more than another.
    scaled = (grid - low) / (high - low) if high > low else np.zeros_like(grid)
    return scaled, seen_part(student.fit, student.imgsz, image.size), class_name


def _weights(pixels: int, begins: float, ends: float, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """How much of each cell is at each pixel along one side, (pixels, cells), and which pixels the
    grid covers, (pixels,) bool."""
    middles = (np.arange(pixels) + 0.5) / pixels
    at = (middles - begins) / (ends - begins) * cells - 0.5
    near = np.clip(at, 0, cells - 1)[:, np.newaxis]
    weights = np.maximum(0, 1 - np.abs(near - np.arange(cells))).astype(np.float32)
    return weights, (middles >= begins) & (middles <= ends)
