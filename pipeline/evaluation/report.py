"""An evaluation as one HTML file that needs no network: it computes nothing, it only shows."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.errors import SourceError
from pipeline.evaluation.label_wording import label_sentences, suspect_sentences
from pipeline.evaluation.record import Evaluation
from pipeline.evaluation.wording import (
    conclusion,
    interval,
    megabytes,
    number,
    percent,
    rejection_sentence,
    summary_rows,
)
from pipeline.pixels import MAX_PIXELS, read_rgb

_THUMBNAIL = 160  # pixels, the longer side; shown at half of it, for dense screens
_SMALL = 112  # the same, where they are many


def render_report(
    evaluation: Evaluation,
    curve: Path | None = None,
    max_pixels: int = MAX_PIXELS,
    notices: Path | None = None,
) -> str:
    """Return the report of an evaluation as HTML.

    Args:
        evaluation: what to show.
        curve: the training curve, a PNG; left out where there is no such file.
        max_pixels: pictures larger than this get no thumbnail.
        notices: the folder of the notices' pictures; one that is not there is left out.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.evaluation"),
        autoescape=True,  # class names and paths come from strangers
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent, interval=interval, number=number, megabytes=megabytes
    )
    header, *rows = summary_rows(evaluation)
    labels, suspects = evaluation.labels, evaluation.suspects
    return environment.get_template("report.html.j2").render(
        evaluation=evaluation,
        version=__version__,
        conclusion=conclusion(evaluation),
        rejection=rejection_sentence(evaluation),
        header=header,
        rows=rows,
        matrices=_matrices(evaluation),
        cards=_cards(evaluation.disagreements, max_pixels),
        label_sentences=label_sentences(labels),
        moves=_cards(labels.moves, max_pixels),
        doubts=_cards(labels.doubts, max_pixels),
        suspect_sentences=suspect_sentences(suspects),
        suspects=_cards(suspects.worst if suspects else (), max_pixels, _SMALL),
        notices=[
            (one.sentence, _picture(notices / one.picture if notices and one.picture else None))
            for one in labels.notices
        ],
        curve=_picture(curve),
    )


def _cards(cases: Sequence[Any], max_pixels: int, side: int = _THUMBNAIL) -> list[dict[str, Any]]:
    """Records of images with their thumbnails."""
    return [
        {
            **vars(case),
            "file": Path(case.path).name,
            "thumbnail": _thumbnail(case.path, max_pixels, side),
        }
        for case in cases
    ]


def _picture(file: Path | None) -> str | None:
    """A PNG or JPEG as a data URI; None where there is no such file."""
    if file is None or not file.is_file():
        return None
    return _data_uri(file.read_bytes(), "png" if file.suffix == ".png" else "jpeg")


def _matrices(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The matrices to draw: each side against truth, or the student against its teacher."""
    if not evaluation.held_out.has_truth:
        found = [("Student beside teacher", "teacher", evaluation.student.agreement_matrix)]
    else:
        found = [
            ("Student", "truth", evaluation.student.confusion),
            ("Teacher", "truth", evaluation.teacher.confusion),
        ]
    return [
        {
            "title": title,
            "rows_are": rows_are,
            "cells": [
                [{"count": count, "share": count / max(sum(row), 1)} for count in row]
                for row in counts or ()
            ],
        }
        for title, rows_are, counts in found
    ]


def _thumbnail(path: str, max_pixels: int, side: int) -> str | None:
    """A small JPEG as a data URI; None for a picture that cannot be read any more."""
    try:
        image = read_rgb(Path(path), max_pixels)
    except SourceError:
        return None
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return _data_uri(buffer.getvalue(), "jpeg")


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
