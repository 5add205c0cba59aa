"""Who is compared on the held-out images, beside chance: the teachers as one and each alone, the
student, and each export of it that was proved."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import StudentError
from pipeline.evaluation.assess import Measured
from pipeline.evaluation.costs import (
    Costs,
    Start,
    cold_start,
    flops_of,
    own_process,
    start_of_export,
)
from pipeline.evaluation.first_answer import OpenStudent, OpenTeachers
from pipeline.evaluation.measure import measure_latency, predict_files
from pipeline.evaluation.record import LeftOut, Precision
from pipeline.evaluation.sample import Sample
from pipeline.export.known import read_export
from pipeline.export.open import Exported, exports_of
from pipeline.records import Prediction, Predictor
from pipeline.run.stage import Run
from pipeline.storage.address import is_file_place
from pipeline.storage.reading import read_bytes
from pipeline.student import Student
from pipeline.teachers.panel import Answers, Panel
from pipeline.values import counted


@dataclass(frozen=True)
class Entrant:
    """One who has answered and is still to be timed."""

    kind: str  # of `record.KINDS`
    predictor: Predictor
    prediction: Prediction  # on the held-out images
    start: Start  # what answers on one of them in a new process
    precision: str
    format: str | None = None
    flops: int | None = None  # where counting them here would not find them


def line_up(
    run: Run,
    panel: Panel,
    student: Student,
    sample: Sample,
    taught: Answers,
    learned: Prediction,
) -> tuple[list[Entrant], list[LeftOut]]:
    """Return who is compared, those first who labeled and who learned, and who cannot be here.

    Each export that was proved with this student answers on the held-out images. One whose runtime
    is missing, or that fails, is told and left out: the others can still be compared.

    Raises:
        SourceError: an image cannot be read any more.
    """
    classes, most = run.ontology.dataset_classes, run.config.max_pixels
    picture = _as_file(sample.paths[0])
    several = len(panel.members) > 1

    def teachers(kind: str, who: Predictor, answers: np.ndarray, members: Sequence[int]) -> Entrant:
        config = run.config.model_copy(
            update={"teachers": [panel.members[index].settings for index in members]}
        )
        used = [panel.members[index].teacher.precision for index in members]
        return Entrant(
            kind,
            who,
            Prediction(classes, answers),
            own_process(OpenTeachers(config, run.ontology, classes), picture, most),
            " + ".join(dict.fromkeys(used)),
        )

    together = teachers(
        "teachers" if several else "teacher", panel, taught.together, range(len(panel.members))
    )
    opening = OpenStudent(run.workspace.student, student.device, student.precision)
    start = own_process(opening, picture, most)
    found = [together, Entrant("student", student, learned, start, student.precision, "pytorch")]
    if several:
        found += [
            teachers("teacher", member.zero_shot, answers, [index])
            for index, (member, answers) in enumerate(zip(panel.members, taught.alone, strict=True))
        ]
    left_out = []
    flops = flops_of(student, read_bytes(picture), most)
    for folder in exports_of(run.workspace):
        try:
            exported = Exported.load(folder, run.config.student.device)
            with run.listener.bar(exported.name, "images") as progress:
                said = predict_files(exported, sample.paths, max_pixels=most, progress=progress)
        except StudentError as error:
            known = read_export(folder)
            name = folder.name if known is None else f"{known.format} {known.precision}"
            left_out.append(LeftOut(name, str(error)))
            run.listener.warn(f"{name} is left out of the comparison. {error}")
            continue
        start = start_of_export(folder, picture)
        answers = said.in_order(classes)
        found.append(
            Entrant("export", exported, answers, start, exported.precision, exported.format, flops)
        )
    return found, left_out


def compete(
    run: Run, entrants: Sequence[Entrant], sample: Sample, precisions: Sequence[Precision]
) -> dict[str, Measured]:
    """Time all of them, by turns, and return them by names of their own.

    Args:
        precisions: of the first two, who labeled and who learned.
    """
    config, most = run.config.evaluate, run.config.max_pixels
    rows = np.linspace(0, len(sample.paths) - 1, min(config.latency_images, len(sample.paths)))
    encoded = [read_bytes(sample.paths[int(row)]) for row in rows]
    run.listener.say(
        f"Timing {counted(len(entrants), 'contender')} on {counted(len(encoded), 'image')}."
    )
    with run.listener.bar("Timing", "images") as progress:
        latency = measure_latency(
            [one.predictor for one in entrants], encoded, max_pixels=most, progress=progress
        )
    costs = [_flops(one, encoded[0], most) for one in entrants]
    if config.cold_starts:
        with run.listener.bar("Starting anew", "processes") as progress:
            for done, one in enumerate(entrants, start=1):
                found = cold_start(one.start)
                if found.cold_start_s is None:
                    run.listener.warn(f"{one.predictor.name} did not answer in a new process.")
                costs[done - 1] = replace(found, flops=costs[done - 1].flops)
                progress(done, len(entrants))
    told = [*precisions, *(Precision(one.precision, None) for one in entrants[len(precisions) :])]
    return {
        f"{number} {one.kind}": Measured(
            one.predictor,
            one.prediction,
            speed,
            precision,
            one.kind,
            one.format,
            cost,
        )
        for number, (one, speed, precision, cost) in enumerate(
            zip(entrants, latency, told, costs, strict=True)
        )
    }


def _flops(one: Entrant, data: bytes, max_pixels: int) -> Costs:
    return Costs(one.flops or flops_of(one.predictor, data, max_pixels))


def _as_file(place: str) -> Path:
    """A file that other processes can open, until this one ends."""
    if is_file_place(place):
        return Path(place)
    folder = tempfile.TemporaryDirectory(prefix="clip2yolo-")
    atexit.register(folder.cleanup)
    file = Path(folder.name) / "picture"
    file.write_bytes(read_bytes(place))
    return file
