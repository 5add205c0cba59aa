"""An exported folder: the model, labels.json, unlike.npz and predict.py, written together."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline.errors import Clip2YoloError, StudentError
from pipeline.export import labels, predict
from pipeline.export.formats import Format, Job
from pipeline.files import write_json
from pipeline.student.card import read_card
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
    from pipeline.yolo.library import load_checkpoint

    card = read_card(student)
    folder.mkdir(parents=True)
    job = Job(lambda: graph_of(student / "weights.pt"), card.imgsz, precision, calibration)
    try:
        with _quiet():
            files = wanted.convert(job, folder)
    except (Clip2YoloError, OSError, MemoryError):
        raise
    except Exception as error:  # converters raise anything on a layer that they do not know
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise StudentError(
            f"The student could not be converted to {wanted.title} in {precision} ({reason}). "
            "Try another format; `--verbose` shows what the converter says."
        ) from error
    known = Unlike.load(student, len(card.classes))
    if known is not None:
        known.save(folder)
    model = load_checkpoint(student / "weights.pt")["model"]
    described = labels.labels_of(wanted, precision, folder, files, student, card, known, model)
    write_json(folder / labels.FILE, described)
    shutil.copyfile(predict.__file__, folder / PREDICT)


def settle_unlike(folder: Path, features: np.ndarray) -> None:
    """Measure anew, by what an exported model sees, from where on a picture is none of its classes:
    at half or 8 bits its features are not quite the student's.

    Args:
        folder: of an export that knows what is unlike its classes.
        features: (n, f) that the exported model has of pictures that it was not trained on.
    """
    described = json.loads((folder / labels.FILE).read_text("utf-8"))
    known = Unlike.load(folder, len(described["classes"]))
    assert known is not None  # such an export has it
    settled = known.settled(features)
    limit = settled.threshold()
    if limit is None:  # too few of them could be read
        return
    settled.save(folder)
    described["none"]["threshold"] = limit
    write_json(folder / labels.FILE, described)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep converters' own bars, advice and warnings off the terminal, unless somebody asked for
    what libraries log."""
    if logging.getLogger().isEnabledFor(logging.INFO):
        yield
        return
    before, nowhere = logging.root.manager.disable, io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
