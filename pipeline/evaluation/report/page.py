"""An evaluation as one HTML file that needs no network: it computes nothing, it only shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.evaluation.analysis_record import Slice
from pipeline.evaluation.analysis_wording import (
    look_alike_sentence,
    reliability_sentences,
    slice_sentences,
)
from pipeline.evaluation.label_record import LabelFigures
from pipeline.evaluation.label_wording import label_sentences
from pipeline.evaluation.metrics import ConfidenceBin
from pipeline.evaluation.record import Evaluation
from pipeline.evaluation.report.chart import NARROW, WIDE, draw_chart
from pipeline.evaluation.report.curves import draw_training
from pipeline.evaluation.report.galleries import galleries_of, pictures_in, with_pictures
from pipeline.evaluation.report.made import Made
from pipeline.evaluation.report.matrices import matrices_of
from pipeline.evaluation.report.pictures import SHEET, Pictures
from pipeline.evaluation.report.rows import conditions, numbers_of, rows_of, tables_of
from pipeline.evaluation.wording import (
    conclusion,
    interval,
    milliseconds,
    number,
    p_value,
    percent,
    precision_sentence,
    rejection_sentence,
)
from pipeline.pixels import MAX_PIXELS
from pipeline.student.epochs import EpochReport

if TYPE_CHECKING:
    import jinja2

_SHEETS = 20  # pictures of notices
_SLICES = 8  # shown at once; the others can be unfolded


def render_report(
    evaluation: Evaluation,
    curve: Sequence[EpochReport] = (),
    max_pixels: int = MAX_PIXELS,
    notices: Path | None = None,
    made: Made | None = None,
) -> str:
    """Return the report of an evaluation as HTML.

    Args:
        evaluation: what to show.
        curve: the epochs of the student's training.
        max_pixels: pictures larger than this get no thumbnail.
        notices: the folder of the notices' pictures; one that is not there is left out.
        made: how the evaluation came about.
    """
    labels = evaluation.labels
    sheets = _sheets(labels, notices)
    galleries = galleries_of(evaluation)
    wanted = pictures_in(galleries) + SHEET * sum(sheet is not None for sheet in sheets)
    pictures = Pictures(wanted, max_pixels)
    rows = rows_of(evaluation)
    timed = [row for row in rows if row.latency is not None]
    matrices = matrices_of(evaluation)
    measure = "accuracy" if evaluation.held_out.has_truth else "agreement with the teacher"
    chance = evaluation.chance.accuracy or evaluation.chance.agreement
    charts = [draw_chart(timed, chance, measure, shape) for shape in (WIDE, NARROW)]
    return _environment().get_template("report.html.j2").render(
        evaluation=evaluation,
        student=evaluation.student,
        teacher=evaluation.teacher,
        truth=evaluation.held_out.has_truth,
        version=__version__,
        conclusion=conclusion(evaluation),
        numbers=numbers_of(evaluation),
        measure=measure,
        charts=charts,
        kinds=[kind for kind in _KINDS if kind[0] in {one.row.kind for one in charts[0].points}],
        said=_said(evaluation),
        parts=_parts(labels),
        label_sentences=label_sentences(labels),
        notices=[
            {"sentence": one.sentence, "picture": pictures.sheet(sheet)}
            for one, sheet in zip(labels.notices, sheets, strict=True)
        ],
        matrices=[one for one in matrices if one.cells],
        confusions=[one for one in matrices if not one.cells],
        reliability_sentences=reliability_sentences(evaluation),
        diagrams=_diagrams(evaluation),
        slice_sentences=slice_sentences(evaluation),
        slices=_slices(evaluation.slices),
        look_alike_sentence=look_alike_sentence(evaluation),
        plots=draw_training(curve),
        tables=tables_of(rows, evaluation.held_out.has_truth),
        conditions=conditions(evaluation),
        galleries=[with_pictures(gallery, pictures) for gallery in galleries],
        crowded_out=pictures.crowded_out,
        made=made,
    )  # fmt: skip


_KINDS = (("teacher", "teacher"), ("student", "student"), ("export", "student, exported"))


@cache  # which compiles each template once
def _environment() -> jinja2.Environment:
    import jinja2  # only where a report is made

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.evaluation.report"),
        autoescape=True,  # class names and paths come from strangers
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent, interval=interval, number=number, milliseconds=milliseconds,
        p_value=p_value, amount="{:,}".format,
    )  # fmt: skip
    return environment


def _sheets(labels: LabelFigures, folder: Path | None) -> list[Path | None]:
    """The picture of each notice, as far as there is one and not too many."""
    return [
        folder / one.picture if folder and one.picture and number < _SHEETS else None
        for number, one in enumerate(labels.notices)
    ]


def _said(evaluation: Evaluation) -> list[str]:
    """What else belongs to the summary."""
    sentences = [
        evaluation.against.sentence if evaluation.against else "",
        evaluation.drift.sentence if evaluation.drift else "",
        rejection_sentence(evaluation),
        precision_sentence(evaluation),
    ]
    return [sentence for sentence in sentences if sentence]


@dataclass(frozen=True)
class _Part:
    """A part of the bar of all images; places are thousandths of its width."""

    kind: str
    start: float
    width: float
    words: str


def _parts(labels: LabelFigures) -> list[_Part]:
    counts = {
        "accepted": labels.accepted,
        "human": labels.human,
        "abstained": labels.abstained,
    }
    total, start, parts = max(sum(counts.values()), 1), 0.0, []
    for kind, count in counts.items():
        width = round(1000 * count / total, 1)
        if count:
            parts.append(_Part(kind, start, width, f"{kind}: {count:,}"))
        start = round(start + width, 1)
    return parts


@dataclass(frozen=True)
class _Diagram:
    """How sure somebody is, and how often right."""

    title: str
    bins: list[ConfidenceBin]


def _diagrams(evaluation: Evaluation) -> list[_Diagram]:
    found = evaluation.reliability
    if found is None:
        return []
    sides = {"Teacher": found.teacher, "Labels": found.labels, "Student": found.student}
    return [_Diagram(title, bins) for title, bins in sides.items() if any(slot.n for slot in bins)]


@dataclass(frozen=True)
class _Slices:
    """Some slices as a table; shares are drawn from `low` to 1."""

    rows: list[Slice]
    low: float
    folded: bool


def _slices(slices: Sequence[Slice]) -> list[_Slices]:
    """The significant and the worst ones, and the others apart."""
    if not slices:
        return []
    lowest = min(min(one.figure.low, one.rest.low) for one in slices)
    low = max(int(lowest * 10 - 1e-9) / 10, 0.0)
    shown = max(sum(one.significant for one in slices), min(_SLICES, len(slices)))
    ordered = sorted(slices, key=lambda one: not one.significant)
    parts = [_Slices(ordered[:shown], low, False), _Slices(ordered[shown:], low, True)]
    return [part for part in parts if part.rows]
