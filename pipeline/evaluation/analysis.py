"""A closer look at a student's answers: on which images it is worse, and where it looked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from pipeline.evaluation.activation import activations, mistakes_among
from pipeline.evaluation.look_alikes import Found
from pipeline.evaluation.record import Evaluation
from pipeline.evaluation.sample import Sample, films_of
from pipeline.evaluation.slices import Judged, find_slices
from pipeline.evaluation.traits import places_of, read_traits
from pipeline.run.stage import Run
from pipeline.student import Student


def look_closer(
    run: Run,
    evaluation: Evaluation,
    student: Student,
    sample: Sample,
    answers: pl.DataFrame,
    found: Found,
) -> Evaluation:
    """Return an evaluation with slices, look-alikes and class activation maps.

    Args:
        run: at work.
        evaluation: of the sample.
        student: who is looked at.
        sample: the held-out images.
        answers: on the same images in their order, with the schema `against.ANSWERS`.
        found: the look-alikes among them.
    """
    has_truth = evaluation.held_out.has_truth
    wanted = answers["truth" if has_truth else "teacher"]
    right = (wanted == answers["student"]).to_numpy()
    judged = Judged(
        paths=sample.paths,
        right=right,
        wanted=np.unique(wanted.to_numpy(), return_inverse=True)[1],
        confidence=answers["confidence"].to_numpy(),
        has_truth=has_truth,
    )
    films = films_of(run, [str(path) for path in sample.paths])
    with run.listener.bar("Looking at light, blur and size", "images") as progress:
        traits = read_traits(sample.paths, run.config.max_pixels, progress)
    mistakes = mistakes_among(evaluation.disagreements)
    return replace(
        evaluation,
        slices=find_slices(judged, traits, places_of(sample.paths, films, run.ontology.classes)),
        look_alikes=found.judged(right),
        activations=activations(student, mistakes, run.config.max_pixels),
    )
