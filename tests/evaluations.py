"""An evaluation of two fakes on pictures, for the tests of what is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.evaluate import Contender, HeldOut, evaluate
from pipeline.measure import measure_latency, predict_files
from tests.fakes import NAMES, ColorPredictor, photos

COUNTS = {"red": 6, "green": 5, "blue": 4, "yellow": 5, "gray": 4}


def compare(tmp_path: Path, truth: bool = True, bias: float = 7.0, **kwargs: object) -> dict:
    """A teacher who favours red beside a student who is always right, on 24 pictures."""
    paths = photos(tmp_path / "photos", COUNTS)
    wanted = np.array([NAMES.index(path.name.split("_")[0]) for path in paths])
    teacher, student = ColorPredictor("teacher", bias=bias), ColorPredictor("student")
    latency = measure_latency([teacher, student], [path.read_bytes() for path in paths[:8]])
    sides = [
        Contender(side, predict_files(side, paths, batch=7), latency[side.name])
        for side in (teacher, student)
    ]
    held_out = HeldOut([path.name for path in paths], paths, wanted if truth else None, "photos")
    labels = {"images": 24, "accepted": 20, "abstained": 4, "human": 0, "accuracy": None,
              "thresholds": []}  # fmt: skip
    return evaluate(NAMES, held_out, *sides, {"red": 9, "green": 3}, labels, **kwargs)
