"""Evaluations made of pictures and fakes, for the tests of what is made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluation.against import Against, Difference
from pipeline.evaluation.assess import HeldOut, Measured, assess
from pipeline.evaluation.label_record import LabelFigures
from pipeline.evaluation.latency import Latency, Percentiles
from pipeline.evaluation.measure import measure_latency, predict_files
from pipeline.evaluation.metrics import Proportion
from pipeline.evaluation.record import Evaluation, Speedup
from pipeline.records import Prediction
from tests.fakes import NAMES, ColorPredictor, photos

COUNTS = {"red": 6, "green": 5, "blue": 4, "yellow": 5, "gray": 4}
LABELS = LabelFigures(24, 20, 4, 0, None, [])


def compare(tmp_path: Path, truth: bool = True, bias: float = 7.0, **options: Any) -> Evaluation:
    """A teacher who favours red beside a student who is always right, on 24 pictures."""
    paths = photos(tmp_path / "photos", COUNTS)
    wanted = np.array([NAMES.index(path.name.split("_")[0]) for path in paths])
    teacher, student = ColorPredictor("teacher", bias=bias), ColorPredictor("student")
    latency = measure_latency([teacher, student], [path.read_bytes() for path in paths[:8]])
    sides = {
        side.name: Measured(side, predict_files(side, paths, batch=7), speed)
        for side, speed in zip((teacher, student), latency, strict=True)
    }
    held_out = HeldOut([path.name for path in paths], paths, wanted if truth else None, "photos")
    return assess(NAMES, held_out, sides, {"red": 9, "green": 3}, LABELS, **options)


class Sayer:
    """A predictor by name only: what it answers is given beside it."""

    parameters = 7
    file_bytes: int | None = None
    device = "cpu"

    def __init__(self, name: str, classes: tuple[str, ...]) -> None:
        self.name, self.classes = name, classes


def latency(base: float) -> Latency:
    """Figures of speed that all differ, so that no two can be exchanged unnoticed."""
    return Latency(
        end_to_end=Percentiles(base, base * 1.1, base * 1.3),
        model_only=Percentiles(base / 4, base / 3.7, base / 3.1),
        throughput=1700 / base, throughput_model_only=5300 / base,
        images=8, batch=4, threads=3, decode_threads=2, device=f"device {base:g}",
    )  # fmt: skip


def said(classes: tuple[str, ...], answers: list[int], sure: list[float]) -> Prediction:
    """Answers by class index, each given with a probability; the rest is shared evenly."""
    rest = (1 - np.array(sure)) / (len(classes) - 1)
    table = np.tile(rest[:, None], (1, len(classes)))
    table[np.arange(len(answers)), answers] = sure
    return Prediction(classes, table.astype(np.float32))


def by_hand(
    classes: tuple[str, ...],
    truth: list[int] | None,
    sides: dict[str, tuple[list[int], list[float]]],
    counts: dict[str, int] | None = None,
    **options: Any,
) -> Evaluation:
    """An evaluation of answers that are written down: kind → (class indices, probabilities)."""
    number = len(next(iter(sides.values()))[0])
    held_out = HeldOut(
        [f"id {row}" for row in range(number)], [Path(f"/{row}.jpg") for row in range(number)],
        None if truth is None else np.array(truth), "by hand", {"too odd": 2},
    )  # fmt: skip
    contenders = {
        kind: Measured(Sayer(f"the {kind}", classes), said(classes, *given), latency(base))
        for base, (kind, given) in zip((40.0, 8.0, 2.0), sides.items(), strict=False)
    }
    return assess(classes, held_out, contenders, counts or {}, LABELS, **options)


def evaluation_with(
    accuracy: float | None = 0.9,
    n: int = 400,
    speedup: float = 6.0,
    agreement: float | None = None,
    behind: tuple[float, float, float] | None = None,
) -> Evaluation:
    """An evaluation whose student has these figures; `behind`: new minus old, with low and high."""

    def figure(value: float | None) -> Proportion | None:
        if value is None:
            return None
        spread = 1.96 * (value * (1 - value) / n) ** 0.5
        return Proportion(value, value - spread, value + spread, n)

    plain = by_hand(("a", "b"), [0, 1], {
        "teacher": ([0, 1], [0.9, 0.9]), "student": ([0, 1], [0.9, 0.9]),
    })  # fmt: skip
    compared = replace(plain.comparison, speedup=Speedup(speedup, 2 * speedup, 3 * speedup))
    student = replace(
        plain.student, accuracy=figure(accuracy), comparison=compared,
        agreement=figure(accuracy if agreement is None else agreement),
    )  # fmt: skip
    against = None
    if behind is not None:
        against = Against(
            "accuracy", True, n, 0.9, 0.9 - behind[0], 1, 2, 0.5, Difference(*behind), "the old one"
        )
    return replace(plain, contenders=[plain.teacher, student], against=against)
