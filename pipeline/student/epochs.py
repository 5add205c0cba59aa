"""The epochs of a training: what each came to, and the table of them."""

from __future__ import annotations

import csv
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.errors import StudentError
from pipeline.files import replacing

LOWER = "Lower the learning rate, as in `student: {train: {lr0: 0.0001}}`."
DIVERGED = f"The training diverged: its loss is not a number any more. {LOWER}"
OVERFLOWN = f"The training diverged: its weights are too large to be saved. {LOWER}"
_EXPLODED = 10  # times the cross-entropy of somebody who knows nothing and says so


@dataclass(frozen=True)
class EpochReport:
    """One epoch of training; losses are cross-entropy, `valid_top1` a share from 0 to 1."""

    epoch: int  # from 1
    epochs: int
    train_loss: float
    valid_loss: float
    valid_top1: float  # agreement with the labels of the valid split
    seconds: float


def report_of(trainer: Any, started: float) -> EpochReport:
    """Read an epoch's figures off ultralytics' trainer.

    Raises:
        StudentError: the loss is not a number any more.
    """
    losses = trainer.label_loss_items(trainer.tloss)
    report = EpochReport(
        epoch=trainer.epoch + 1,
        epochs=trainer.epochs,
        train_loss=float(sum(losses.values())),
        valid_loss=float(sum(v for k, v in trainer.metrics.items() if k.startswith("val/"))),
        valid_top1=float(trainer.metrics["metrics/accuracy_top1"]),
        seconds=time.monotonic() - started,
    )
    if not math.isfinite(report.train_loss + report.valid_loss):
        raise StudentError(DIVERGED)
    return report


def refuse_exploded(last: EpochReport, labels: Sequence[int]) -> None:
    """Refuse a training whose numbers are finite still and mean nothing any more.

    Only where that is certain: on the valid split the student is right no more often than if it
    named one class always, and its loss is many times that of calling every class as likely. How
    good a student must be beyond that is for gates to say.

    Args:
        last: the report of the last epoch.
        labels: class indices of the valid split, at least one.

    Raises:
        StudentError: it has exploded.
    """
    counts = Counter(labels)
    commonest = max(counts.values()) / len(labels)
    # ultralytics rounds to five digits.
    by_chance = last.valid_top1 <= commonest + 1e-5
    if by_chance and last.valid_loss > _EXPLODED * math.log(max(len(counts), 2)):
        raise StudentError(
            f"The training diverged: its loss on the valid split is {last.valid_loss:.3g}, and it "
            f"knows no more than chance there. {LOWER}"
        )


def write_curve(path: Path, reports: Sequence[EpochReport]) -> None:
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(field.name for field in fields(EpochReport))
        rows.writerows(astuple(report) for report in reports)


def read_curve(path: Path) -> list[EpochReport]:
    """The epochs that are written down, up to the first one that cannot be read."""
    reports: list[EpochReport] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                figures = [float(row[field.name]) for field in fields(EpochReport)[2:]]
                reports.append(EpochReport(int(row["epoch"]), int(row["epochs"]), *figures))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return reports
