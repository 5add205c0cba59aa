"""What an audit's answers say of labels, teacher and student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.evaluation.audit.estimate import Estimates, estimate
from pipeline.evaluation.audit.frame import ROUND
from pipeline.values import counted

FEW = 10  # answers, below which no figure is given


@dataclass(frozen=True)
class AuditFigures:
    """Where an audit stands."""

    images: int  # that it stands for; look-alikes count once
    drawn: int
    answered: int
    labels: Estimates | None  # of what the dataset is made of: accepted labels
    guesses: Estimates | None  # of all images, accepted or not
    teacher: Estimates | None  # by the words alone, each image by itself
    student: Estimates | None
    notes: tuple[str, ...]  # sentences


def figures(
    frame: pl.DataFrame,
    labels: pl.DataFrame,
    truth: Mapping[str, str | None],
    student: Mapping[str, str] | None,
    notes: tuple[str, ...] = (),
) -> AuditFigures:
    """Hold labels, teacher and student against what people said of the drawn images.

    Args:
        frame: with the schema `FRAME`.
        labels: all images that a machine has labeled; columns id, class, guess, plain, doubt and
            decision.
        truth: image id → what people said; None: of no class.
        student: image id → what the student says of those answered images that are new to it;
            None: it is not judged.
        notes: sentences that belong to it.
    """
    rows = frame.join(labels, "id", "inner", maintain_order="left")
    drawn = int(rows["drawn"].sum())
    rows = rows.with_columns(answered=pl.col("drawn") & pl.col("id").is_in(list(truth)))
    # Of images that came later and of which nothing is answered, an audit says nothing.
    spoken_of = (rows.filter("answered")["stratum"] // ROUND).unique()
    late = rows.filter(~(pl.col("stratum") // ROUND).is_in(spoken_of.implode()))
    answered = int(rows["answered"].sum())
    if answered and len(late):
        notes += (
            f"{counted(len(late), 'image')} came later or stand apart, none of them answered yet, "
            "and the figures do not speak of them.",
        )
    if answered < FEW:
        return AuditFigures(len(rows), drawn, answered, None, None, None, None, notes)
    rows = rows.filter((pl.col("stratum") // ROUND).is_in(spoken_of.implode())).sort(
        "stratum", "place"
    )
    accepted = rows.filter(pl.col("decision") == "accepted")
    return AuditFigures(
        images=len(rows),
        drawn=drawn,
        answered=answered,
        labels=_estimate(accepted, truth, "guess"),
        guesses=_estimate(rows, truth, "guess"),
        teacher=_estimate(rows, truth, "plain"),
        student=None if student is None else _estimate(_judged_by(rows, student), truth, "student"),
        notes=notes,
    )


def _judged_by(rows: pl.DataFrame, student: Mapping[str, str]) -> pl.DataFrame:
    """The images with what the student says; those it was not asked about count as unanswered."""
    said = pl.col("id").replace_strict(dict(student), default=None, return_dtype=pl.String)
    return rows.with_columns(student=said).with_columns(
        answered=pl.col("answered") & pl.col("student").is_not_null()
    )


def _estimate(rows: pl.DataFrame, truth: Mapping[str, str | None], column: str) -> Estimates | None:
    asked = np.flatnonzero(rows["answered"].to_numpy())
    if not len(asked):
        return None
    said = rows[asked].select("id", column).iter_rows()
    right = np.array([name is not None and truth[one] == name for one, name in said])
    doubt = rows["doubt"].fill_null(0.5).cast(pl.Float64).to_numpy()
    return estimate(rows["stratum"].to_numpy(), 1 - doubt, asked, right)
