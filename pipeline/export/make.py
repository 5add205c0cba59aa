"""From a student to a proved folder: converted aside, proved there, and put into place."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.config import ExportConfig
from pipeline.errors import SourceError, StudentError
from pipeline.export.folder import name_of, settle_unlike, write_export
from pipeline.export.formats import FORMATS
from pipeline.export.held_out import HeldOut, chosen_by, held_out, held_out_digest, to_calibrate
from pipeline.export.known import PROOF, Known, read_export
from pipeline.export.page import write_page
from pipeline.export.proof import NEEDED, Proof, prove
from pipeline.export.replay import Answers, ask_export, ask_student, features_of
from pipeline.files import fingerprint, hashes_of, replacing, write_json
from pipeline.machine import model_threads
from pipeline.pixels import read_rgb
from pipeline.run.stage import Run
from pipeline.student import Student
from pipeline.student.card import StudentCard, read_card
from pipeline.student.unlike import Unlike

FORMAT = 1  # of what an export leaves; raised where earlier exports are to be made again


@dataclass(frozen=True)
class ExportFigures:
    """One export, as it was proved."""

    name: str  # of its folder
    format: str
    precision: str
    bytes: int  # of the model
    proved: bool  # False: this machine cannot ask it
    sentence: str
    images: int
    agreement: float | None
    largest_difference: float | None
    accuracy: float | None
    kept: bool = False  # it was there already


@dataclass(frozen=True)
class ExportInputs:
    """What exports are made from, and proved on."""

    plan: pl.DataFrame  # dataset.parquet
    card: StudentCard
    student: str  # SHA-256 of the weights
    beside: str  # digest of what lies beside them
    images: str  # digest of the held-out images

    def digest(self, wanted: ExportConfig) -> str:
        """Name all that one export depends on."""
        parts = (wanted.model_dump(), self.student, self.beside, self.images, NEEDED)
        return fingerprint(FORMAT, *parts)


def inputs_of(run: Run, plan: pl.DataFrame) -> ExportInputs:
    """Read what exports depend on.

    Raises:
        StudentError: the student is damaged.
        OSError: or cannot be read.
    """
    student = run.workspace.student
    card = read_card(student)
    weights, *beside = hashes_of(
        [path for name in ("weights.pt", "unlike.npz") if (path := student / name).is_file()]
    )
    known = fingerprint(beside, card.classes, card.imgsz, card.fit)
    return ExportInputs(plan, card, weights, known, held_out_digest(run, plan))


class Maker:
    """Makes the exports of one run, one after the other; what they share is made once.

    Args:
        run: at work, under its lock.
        inputs: what it is made from.
    """

    def __init__(self, run: Run, inputs: ExportInputs) -> None:
        self._run, self._inputs = run, inputs
        self._student = run.workspace.student

    def place(self, wanted: ExportConfig) -> Path:
        """Return the folder of an export."""
        return self._run.workspace.exports / name_of(wanted.format, wanted.precision)

    def current(self, wanted: ExportConfig) -> ExportFigures | None:
        """Return the figures of an export that is there and as it would be made now."""
        known = read_export(self.place(wanted))
        if known is None or known.proof.get("digest") != self._inputs.digest(wanted):
            return None
        return figures_of(known, kept=True) if known.whole else None

    def make(self, wanted: ExportConfig) -> ExportFigures:
        """Convert the student, prove what came out, and put it into place.

        Raises:
            StudentError: it cannot be converted, or it does not answer as the student does. It then
                lies in `failed/` beside the others; an earlier export stays as it was.
        """
        place = self.place(wanted)
        failed = place.parent / "failed" / place.name
        with replacing(place) as aside:
            write_export(
                FORMATS[wanted.format],
                wanted.precision,
                self._student,
                aside,
                lambda: self._calibration,
            )
            self._settle(wanted, aside)
            proof = self._prove(wanted, aside)
            if proof is not None and not proof.passed:
                with replacing(failed) as kept:
                    shutil.copytree(aside, kept)
                raise StudentError(*_lines(proof, failed))
            # Last, since the page has a copy of all that the folder says.
            if wanted.format == "onnx" and (reason := write_page(aside)):
                self._run.listener.warn(reason)
        shutil.rmtree(failed, ignore_errors=True)
        known = read_export(place)
        assert known is not None  # it was just written
        return figures_of(known)

    def _settle(self, wanted: ExportConfig, folder: Path) -> None:
        """Let an export whose features differ say "none of these" by its own."""
        exact = wanted.precision == "fp32" or FORMATS[wanted.format].unprovable() is not None
        known = Unlike.load(folder, len(self._inputs.card.classes))
        if not exact and known is not None and known.threshold() is not None:
            with model_threads():
                settle_unlike(folder, features_of(folder, chosen_by(self._inputs.plan)))

    def _prove(self, wanted: ExportConfig, folder: Path) -> Proof | None:
        """Write proof.json; None where this machine cannot ask the model."""
        digest = {"digest": self._inputs.digest(wanted)}
        reason = FORMATS[wanted.format].unprovable()
        if reason is not None:
            unproved = {"passed": None, "sentence": reason, "images": 0}
            write_json(folder / PROOF, unproved | digest)
            return None
        name = name_of(wanted.format, wanted.precision)
        with model_threads(), self._run.listener.bar(f"Proving {name}", "images") as progress:
            answers = ask_export(folder, self._images.paths, progress)
        proof = prove(name, wanted.precision, self._reference, answers, self._images)
        write_json(folder / PROOF, proof.as_json() | digest)
        return proof

    @cached_property
    def _images(self) -> HeldOut:
        return held_out(self._run, self._inputs.plan, self._inputs.card.classes)

    @cached_property
    def _reference(self) -> Answers:
        """The student's own answers."""
        most = self._run.config.max_pixels
        with self._opened() as student, self._run.listener.bar("Student", "images") as progress:
            return ask_student(student, self._images.paths, most, progress)

    @cached_property
    def _calibration(self) -> np.ndarray:
        """Inputs (n, 3, imgsz, imgsz) of images that the student learned from."""
        ready = []
        with self._opened() as student:
            for path in to_calibrate(self._inputs.plan):
                with contextlib.suppress(SourceError):
                    ready.append(student.prepare(read_rgb(path, self._run.config.max_pixels)))
        if not ready:
            raise StudentError(
                "No image of the train split can be read, and int8 needs some to measure ranges "
                "on. Put them back, or export in fp32."
            )
        return np.stack(ready)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Student]:
        with model_threads():
            yield Student.load(self._student, "cpu")


def figures_of(known: Known, kept: bool = False) -> ExportFigures:
    """Return what a folder's proof says."""
    proof = known.proof

    def value(key: str) -> float | None:
        share = proof.get(key)
        return None if share is None else float(share["value"])

    return ExportFigures(
        name=known.folder.name,
        format=known.format,
        precision=known.precision,
        bytes=known.bytes,
        proved=known.passed,
        sentence=str(proof["sentence"]),
        images=int(proof["images"]),
        agreement=value("agreement"),
        largest_difference=proof.get("largest_difference"),
        accuracy=value("accuracy"),
        kept=kept,
    )


def _lines(proof: Proof, failed: Path) -> Sequence[str]:
    """What is said of an export that failed: why, and where it shows."""
    worst = [
        f"  {one.image}: {one.export} {one.export_probability:.3f}, the student "
        f"{one.student} {one.student_probability:.3f}"
        for one in proof.worst
    ]
    return [
        f"{proof.sentence} It is not put into use; it lies in {failed}, with its proof. The images "
        "on which the two differ most:",
        *worst,
    ]
