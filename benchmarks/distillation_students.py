"""A student of the benchmark of distillation: trained, asked about the test photos, and scored."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.distillation_cases import HOME, Case, image, put, read_batch
from pipeline.config import LabelConfig, SpaceConfig, StudentConfig
from pipeline.evaluation.measure import predict_files
from pipeline.evaluation.metrics import accuracy, agreement, calibration_error
from pipeline.labels.again import as_beliefs, beliefs_about
from pipeline.labels.refine.batch import Space
from pipeline.machine import pick_device
from pipeline.records import SPLITS
from pipeline.spaces.see import see
from pipeline.student import Student, train

METHODS = ("yolo", "hard", "soft", "second round")
# Pictures are prepared in the process that trains: it has a core or two, and others beside it on
# these made it five times as slow.
_WORKERS = 0


@dataclass(frozen=True)
class Row:
    """How good a student is on test images that people labeled."""

    data: str
    teacher: str
    method: str
    labels: str
    seed: int
    accuracy: float
    low: float  # of the 95 % interval
    high: float
    agreement: float  # with what the teacher's words say
    ece: float  # expected calibration error, 15 bins
    rejection: float  # mean accuracy over all shares of the images, the surest first
    labels_right: float
    images: int  # that it learned from
    n: int  # test images
    seconds: float  # of training, beside the others that were trained at a time


def keep_to(cores: list[int]) -> None:
    """Have this process run on some of the machine's processors only, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    os.environ["OMP_NUM_THREADS"] = str(len(cores))


def row_of(case: Case, method: str, seed: int) -> dict[str, Any]:
    """Train a student and return its `Row`.

    Args:
        case: what it learns.
        method: "yolo" is ultralytics by itself, on every image of the pool under its likeliest
            class; the others are ours, on what was accepted, with our splits.
        seed: of the training.
    """
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME, prefix=".student-") as name:
        started = time.monotonic()
        student, images = (_yolo if method == "yolo" else _ours)(case, method, seed, Path(name))
        seconds = time.monotonic() - started
        test = case.table("test")
        answers = predict_files(student, [image(one) for one in test["id"]])
    index = {name: number for number, name in enumerate(answers.classes)}
    # A class that the student does not know is never right.
    truth, teacher = (
        np.array([index.get(name, -1) for name in test[column]]) for column in ("class", "teacher")
    )
    best, sure = answers.probabilities.argmax(axis=1), answers.probabilities.max(axis=1)
    right = best == truth
    share, agreed, error = (
        accuracy(best, truth), agreement(best, teacher), calibration_error(sure, right),
    )  # fmt: skip
    assert share is not None and agreed is not None and error is not None
    by_confidence = right[np.argsort(-sure, kind="stable")]
    rejection = float((np.cumsum(by_confidence) / np.arange(1, len(right) + 1)).mean())
    return asdict(
        Row(
            case.data, case.teacher, method, case.labels, seed, share.value, share.low, share.high,
            agreed.value, error, rejection, case.labels_right, images, len(test), seconds,
        )
    )  # fmt: skip


def _ours(case: Case, method: str, seed: int, folder: Path) -> tuple[Student, int]:
    plan = case.table("dataset")
    for split in SPLITS:
        (folder / "dataset" / split).mkdir(parents=True)
    for image_id, file in plan["id", "file"].rows():
        put(image_id, folder / "dataset" / file)
    beliefs = case.table("beliefs").with_columns(
        path=pl.concat_str(pl.lit(f"{HOME / 'images'}{os.sep}"), "path")
    )
    config = StudentConfig(
        model=case.start, imgsz=case.imgsz, epochs=case.epochs, batch=case.batch, seed=seed,
        workers=_WORKERS,
        distill="hard" if method == "hard" else "soft", rounds=2 if method == "second round" else 1,
    )  # fmt: skip
    done = train(
        folder / "dataset", folder / "student", config, plan["class"].unique().to_list(),
        files=plan["file"].to_list(), beliefs=beliefs,
        onlooker=_Onlooker(case, config),
    )  # fmt: skip
    return Student.load(folder / "student"), done.images


@dataclass(frozen=True)
class _Onlooker:
    """As that of `pipeline.student.stage`, without the teachers: a `rounds.Onlooker`."""

    case: Case
    student: StudentConfig

    def by_space(self) -> tuple[list[str], np.ndarray] | None:
        batch, ids = read_batch(self.case.folder / "batch.npz")
        if "sight" not in self.case.labels:
            return None  # the only space is the teacher's own
        return ids.to_list(), batch.spaces[-1].vectors

    def by_words(self) -> pl.DataFrame:
        batch, ids = read_batch(self.case.folder / "batch.npz")
        return as_beliefs(ids, batch.plain, batch.classes, self._classes)

    def by_student(self, weights: Path, kept: Path) -> pl.DataFrame:
        batch, ids = read_batch(self.case.folder / "batch.npz")
        images = pl.DataFrame({"id": ids, "path": [str(image(one)) for one in ids]})
        space = SpaceConfig(kind="student", model=str(weights.absolute()), size=self.student.imgsz)
        seen = see(space, self.student, images, cache_root=kept)
        sight = Space(seen.name, seen.vectors(ids.to_list()))
        both = replace(batch, spaces=(*batch.spaces, sight))
        return beliefs_about(both, ids, LabelConfig(), self._classes)

    @property
    def _classes(self) -> list[str]:
        return self.case.table("dataset")["class"].unique().sort().to_list()


def _yolo(case: Case, method: str, seed: int, folder: Path) -> tuple[Student, int]:
    """Train as a person would who has labels in folders: `YOLO(…).train(…)`, ultralytics' defaults
    but for what the case says, and the optimizer that suits so short a training better than theirs.
    The images of valid are ours; without any, ultralytics refuses."""
    guesses, plan = case.table("guesses"), case.table("dataset")
    for image_id, name in guesses["id", "guess"].rows():
        put(image_id, folder / "data" / "train" / name / f"{image_id[:16]}.jpg")
    for image_id, name in plan.filter(pl.col("split") == "valid")["id", "class"].rows():
        put(image_id, folder / "data" / "val" / name / f"{image_id[:16]}.jpg")
    for name in guesses["guess"].unique():
        (folder / "data" / "val" / name).mkdir(parents=True, exist_ok=True)
    import pipeline.yolo.library  # noqa: F401 - keeps ultralytics in its place

    # isort: split
    from ultralytics import YOLO
    from ultralytics.utils import LOGGER

    LOGGER.setLevel("WARNING")
    device = pick_device("auto")
    YOLO(case.start).train(
        data=str(folder / "data"), imgsz=case.imgsz, epochs=case.epochs, batch=case.batch,
        seed=seed, optimizer="AdamW", lr0=1e-3, cos_lr=True, workers=_WORKERS,
        device="0" if device == "cuda" else device, project=str(folder), name="run", exist_ok=True,
        plots=False, verbose=False, amp=False,  # which would download a detector to try it on
    )  # fmt: skip
    return Student.of_weights(str(folder / "run" / "weights" / "best.pt")), len(guesses)
