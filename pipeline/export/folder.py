"""An exported folder: the model, labels.json, unlike.npz and predict.py, written together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.export import labels, predict
from pipeline.export.formats import Format, Job
from pipeline.files import write_json
from pipeline.student.card import read_card
from pipeline.student.unlike import FILE as UNLIKE
from pipeline.student.unlike import Unlike

PREDICT = "predict.py"


def name_of(format_name: str, precision: str) -> str:
    """Return the name of an export's folder, like `onnx` or `onnx-int8`."""
    return format_name if precision == "fp32" else f"{format_name}-{precision}"


def write_export(
    wanted: Format,
    precision: str,
    student: Path,
    folder: Path,
    calibration: Callable[[], np.ndarray],
) -> None:
    """Convert a student and put all that belongs to it into a folder, which is made.

    Args:
        wanted: the format.
        precision: fp32, fp16 or int8.
        student: its folder.
        folder: that does not exist yet.
        calibration: see `Job`.

    Raises:
        StudentError: the student cannot be loaded, or not be converted.
    """
    from pipeline.export.graph import graph_of

    card = read_card(student)
    folder.mkdir(parents=True)
    job = Job(lambda: graph_of(student / "weights.pt"), card.imgsz, precision, calibration)
    files = wanted.convert(job, folder)
    known = Unlike.load(student, len(card.classes))
    if known is not None:
        known.save(folder)
    model = job.graph().body
    described = labels.labels_of(wanted, precision, folder, files, student, card, known, model)
    write_json(folder / labels.FILE, described)
    shutil.copyfile(predict.__file__, folder / PREDICT)


__all__ = ["PREDICT", "UNLIKE", "name_of", "write_export"]
