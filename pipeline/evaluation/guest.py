"""Any student, in whichever format, on the images that the run's own was judged on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.errors import StudentError, WorkspaceError
from pipeline.evaluation.against import Against, against, read_answers
from pipeline.evaluation.metrics import (
    accuracy,
    agreement,
    calibration_error,
    confusion_matrix,
    macro_f1,
)
from pipeline.evaluation.record import Rejection
from pipeline.evaluation.rejection import ask_student, rejection
from pipeline.evaluation.sample import Sample, choose_sample
from pipeline.listener import SILENT
from pipeline.records import DATASET, read_table
from pipeline.run.stage import Run
from pipeline.shares import Proportion
from pipeline.student.predict import Seeing
from pipeline.student.unlike import Refuse
from pipeline.values import counted


@dataclass(frozen=True)
class Guest:
    """How a student does that is not, or not in this format, the run's own."""

    name: str
    place: str  # where it was opened
    source: str  # where the images come from, in words
    images: int
    accuracy: Proportion | None  # this and the next two None without truth
    macro_f1: float | None
    calibration_error: float | None
    agreement: Proportion | None  # with the teacher
    same: Proportion | None  # answers that are the own student's, too
    against: Against  # the guest as the new one, the run's own student as the old one
    rejection: Rejection | None

    def as_json(self) -> dict[str, Any]:
        """Return what is written of it, the sentence included."""
        return asdict(self) | {"against": self.against.as_json(), "sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """What came out, in a sentence or three."""
        found, difference = self.against, self.against.difference
        share = self.accuracy if found.measure == "accuracy" else self.agreement
        assert share is not None and self.same is not None  # there are images
        what = "right" if found.measure == "accuracy" else "of one mind with the teacher"
        says = (
            f"{self.name} is {what} on {share.value:.1%} of {counted(self.images, 'image')} of "
            f"{self.source} ({share.low:.1%} to {share.high:.1%} with 95 % confidence), the run's "
            f"own student on {found.old:.1%}: {difference.value * 100:+.1f} points "
            f"({difference.low * 100:+.1f} to {difference.high * 100:+.1f}). Both answer alike on "
            f"{self.same.value:.1%}."
        )
        known = self.rejection
        if known is None or known.kept is None:
            return says
        turned = "" if known.turned_away is None else (
            f", and {known.turned_away.value:.1%} of {counted(known.turned_away.n, 'image')} of "
            "no class"
        )  # fmt: skip
        return f"{says} It turns away {1 - known.kept.value:.1%} of these images{turned}."


def ask_guest(run: Run, student: Seeing, place: Path, refuse: Refuse | None = "auto") -> Guest:
    """Ask a student about the images that the run's own was judged on. Changes nothing.

    Args:
        run: that was evaluated.
        student: who is asked; where it cannot say "none of these", nothing is told of that.
        place: where it was opened.
        refuse: see `Refusing`; None to leave it out.

    Raises:
        StudentError: it knows a class that the ontology lacks.
        WorkspaceError, SourceError: the run was not evaluated, or an image has gone.
    """
    classes = run.ontology.dataset_classes
    if unknown := [name for name in student.classes if name not in classes]:
        raise StudentError(
            f"{place} knows classes that the ontology lacks ({', '.join(unknown)}), so it cannot "
            "be asked about this run's images."
        )
    own = read_answers(run.workspace.root)
    sample = _judged_on(run, own)
    own = sample.table().select("id").join(own, "id", maintain_order="left")
    with run.listener.bar(student.name, "images") as progress:
        scored = ask_student(student, sample.paths, run.config.max_pixels, progress)
    shares = scored.prediction.in_order(classes).probabilities
    guesses = [classes[index] for index in shares.argmax(axis=1)]
    answers = own.with_columns(
        student=pl.Series(guesses, dtype=pl.String),
        confidence=pl.Series(shares.max(axis=1), dtype=pl.Float32),
    )
    truth = None if own["truth"].null_count() else own["truth"].to_list()
    right = None if truth is None else np.array(guesses) == np.array(truth)
    most = run.config.max_pixels
    return Guest(
        name=student.name,
        place=str(place),
        source=sample.source,
        images=len(own),
        **_with_truth(classes, guesses, shares, truth),
        agreement=agreement(guesses, own["teacher"].to_list()),
        same=agreement(guesses, own["student"].to_list()),
        against=against(answers, own),
        rejection=None
        if refuse is None
        else rejection(student, scored, right, sample.others, most, refuse),
    )


def _judged_on(run: Run, own: pl.DataFrame) -> Sample:
    """The images of the evaluation, with their files."""
    plan = read_table(run.workspace.dataset_table, DATASET, "label")
    sample = choose_sample(replace(run, listener=SILENT), plan)
    judged = set(own["id"])
    sample.keep([image_id in judged for image_id in sample.ids], "left out there, too")
    if len(sample.ids) != len(judged):
        raise WorkspaceError(
            f"{run.workspace.root} was evaluated on other images than there are now. Run "
            "`clip2yolo evaluate` first."
        )
    return sample


def _with_truth(
    classes: tuple[str, ...], guesses: list[str], shares: np.ndarray, truth: list[str] | None
) -> dict[str, Any]:
    if truth is None:
        return {"accuracy": None, "macro_f1": None, "calibration_error": None}
    known, said = ([classes.index(name) for name in names] for names in (truth, guesses))
    confusion = confusion_matrix(known, said, len(classes))
    correct = np.array(known) == np.array(said)
    return {
        "accuracy": accuracy(said, known),
        "macro_f1": macro_f1(confusion),
        "calibration_error": calibration_error(shares.max(axis=1), correct),
    }
