"""Whether an audit's intervals hold what they promise, on images whose truth is known.

A thousand samples are taken as `clip2yolo audit` takes them, answered rightly, and estimated.
`holds` is how often the 95 % interval held the true share of right labels, `width` how wide it was
on average.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.label_batches import variations
from benchmarks.label_data import Case, cases, data_sets, suits, teachers
from benchmarks.label_methods import batch_of, with_votes
from benchmarks.label_results import keep
from pipeline.errors import TeacherError
from pipeline.evaluation.audit.draw import allocation, strata
from pipeline.evaluation.audit.estimate import estimate
from pipeline.labels.calibrate import calibrated
from pipeline.labels.doubt import doubt
from pipeline.labels.refine.refine import refine
from pipeline.listener import Listener
from pipeline.terminal import TerminalListener, print_table

RESULTS = Path(__file__).parent / "results" / "answers.json"
ANSWERS = (50, 100, 300)
METHODS = ("wilson", "stratified", "difference", "tuned")
_BATCHES = ("all", "imbalanced (0)")
_DRAWS = 1000


@dataclass(frozen=True)
class Row:
    """How often an interval held the truth, and how wide it was."""

    data: str
    teacher: str
    labels: str  # "plain" or "refined"
    images: int
    accuracy: float  # the true one
    answers: int
    method: str
    holds: float
    width: float
    error: float  # root of the mean square, of the estimate


def coverage(
    right: np.ndarray, doubts: np.ndarray, answers: int, draws: int
) -> Iterator[tuple[str, float, float, float]]:
    """Draw and estimate many times; yields for each method its name, how often its interval holds,
    its mean width and the error of its estimate.

    Args:
        right: whether each label is right, (n,).
        doubts: how likely each is wrong, (n,).
        answers: that are drawn; fewer than there are images.
        draws: how often.
    """
    numbers = strata(doubts, answers)
    many = allocation(np.bincount(numbers), answers)
    members = [np.flatnonzero(numbers == stratum) for stratum in range(len(many))]
    share = float(right.mean())
    found = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        parts = zip(members, many, strict=True)
        rows = np.concatenate([rng.choice(part, k, replace=False) for part, k in parts])
        found.append(estimate(numbers, 1 - doubts, rows, right[rows]))
    for method in METHODS:
        ones = [getattr(one, method) for one in found]
        yield (
            method,
            float(np.mean([one.low <= share <= one.high for one in ones])),
            float(np.mean([one.high - one.low for one in ones])),
            float(np.sqrt(np.mean([(one.value - share) ** 2 for one in ones]))),
        )


def rows_of(case: Case, draws: int) -> Iterator[Row]:
    """Audit the labels of one data set that a teacher has seen: of all, and of an uneven part."""
    for variation in variations(case.truth, case.member.zero_shot.prompts, (0,)):
        if variation.name not in _BATCHES:
            continue
        batch = with_votes(batch_of(case, variation))
        truth = case.truth[variation.rows]
        name = case.data if variation.name == "all" else f"{case.data}, imbalanced"
        ways = [("refined", refine(batch).probabilities)]
        if len(batch.spaces) == 1:  # what the words alone say is the same beside a second space
            ways.insert(0, ("plain", batch.plain))
        for labels, found in ways:
            shares = calibrated(found, batch)
            right = shares.argmax(axis=1) == truth
            doubts = doubt(batch, shares).astype(np.float64)
            for answers in ANSWERS:
                if answers > 0.8 * len(truth):
                    continue
                for method, holds, width, error in coverage(right, doubts, answers, draws):
                    yield Row(
                        name, case.teacher, labels, len(truth), round(float(right.mean()), 4),
                        answers, method, round(holds, 3), round(width, 4), round(error, 4),
                    )  # fmt: skip


def run(
    data: Sequence[str],
    teacher: Sequence[str],
    listener: Listener | None = None,
    draws: int = _DRAWS,
) -> None:
    """Measure, print a table, and keep the figures of what belongs to this repository.

    Args:
        data: further data sets, each a folder of class folders.
        teacher: further teachers: names, or folders of open_clip's `local-dir:`.
        listener: told what is not there.
        draws: samples of each size.

    Raises:
        ConfigError, SourceError: a folder that was named is none of class folders.
    """
    listener = listener or TerminalListener(True)
    rows: list[Row] = []
    photos = data_sets([Path(folder) for folder in data], listener)
    for settings in teachers(teacher, listener):
        for one in photos:
            # The test parts are small beside 300 answers, and nobody labels them.
            if not suits(settings, one) or one.name.endswith("/test"):
                continue
            try:
                for case in cases(one, settings, listener):
                    rows += rows_of(case.of_classes(), draws)
            except TeacherError as error:
                print(f"Skipped: {settings.model}. {error}")
    if not data:
        keep({"coverage": [asdict(row) for row in rows]}, RESULTS)
    keys = dict.fromkeys((r.data, r.teacher, r.labels, r.accuracy, r.answers) for r in rows)
    lines = []
    for key in keys:
        own = {
            row.method: row
            for row in rows
            if (row.data, row.teacher, row.labels, row.accuracy, row.answers) == key
        }
        cells = [f"{own[m].holds:.1%} / {own[m].width:.3f}" for m in METHODS]
        lines.append([*key[:3], f"{key[3]:.1%}", str(key[4]), *cells])
    print_table(
        "How often a 95 % interval holds the truth, and how wide it is",
        ["data", "teacher", "labels", "right", "answers", *METHODS], lines,
        left=("data", "teacher", "labels"),
    )  # fmt: skip
