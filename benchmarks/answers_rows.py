"""How right all labels are after so many answers, by what was asked about.

People are simulated: exact ones, and ones who err in 5 %. Some images are asked about at a time,
then the labels are refined with all answers as fixed points, and what is asked about next is chosen
anew. An image that was answered carries the answer, right or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.label_batches import variations
from benchmarks.label_data import Case, cases, data_sets, suits, teachers
from benchmarks.label_methods import batch_of, with_votes
from benchmarks.label_results import keep
from pipeline.errors import TeacherError
from pipeline.labels.doubt import doubt
from pipeline.labels.refine.batch import Batch, Refined
from pipeline.labels.refine.refine import refine
from pipeline.listener import Listener
from pipeline.review.choose import choose
from pipeline.terminal import print_table

RESULTS = Path(__file__).parent / "results" / "answers.json"
AT = (0, 10, 20, 40, 60)  # answers after which the labels are scored
_SCREEN, _LATER = 5, 10  # images that are asked about at a time: to the twentieth, and beyond
_ERR = 0.05

# Of a batch, what refinement made of it, doubts, how many, and a seed: rows to ask about.
Strategy = Callable[[Batch, Refined, np.ndarray, int, int], np.ndarray]


@dataclass(frozen=True)
class Row:
    """How right all labels are after so many answers."""

    data: str
    teacher: str
    strategy: str
    person: str
    answers: int
    accuracy: float  # the mean over the draws
    images: int
    draws: int


def _ours(batch: Batch, refined: Refined, doubts: np.ndarray, count: int, seed: int) -> np.ndarray:
    return choose(batch, refined, doubts, count, seed=seed).rows


def _random(
    batch: Batch, refined: Refined, doubts: np.ndarray, count: int, seed: int
) -> np.ndarray:
    free = np.flatnonzero(batch.known < 0)
    rng = np.random.default_rng([seed, len(free)])
    return rng.permutation(free)[:count]


def _most_doubtful(
    batch: Batch, refined: Refined, doubts: np.ndarray, count: int, seed: int
) -> np.ndarray:
    free = np.flatnonzero(batch.known < 0)
    # Which of two images that are doubted alike comes first is left to chance.
    free = np.random.default_rng([seed, len(free)]).permutation(free)
    return free[np.argsort(-doubts[free], kind="stable")][:count]


STRATEGIES: dict[str, Strategy] = {
    "ours": _ours,
    "random": _random,
    "most doubtful": _most_doubtful,
}


def measured(
    data: Sequence[str], teacher: Sequence[str], draws: int, listener: Listener
) -> list[Row]:
    """Let simulated people answer for every data set and teacher at hand.

    Args:
        data: further data sets, each a folder of class folders.
        teacher: further teachers: names, or folders of open_clip's `local-dir:`.
        draws: how often everything is done, each time with other chances.
        listener: told what is not there.

    Raises:
        ConfigError, SourceError: a folder that was named is none of class folders.
    """
    found: list[Row] = []
    photos = data_sets([Path(folder) for folder in data], listener)
    for settings in teachers(teacher, listener):
        for one in photos:
            if not suits(settings, one):
                continue
            try:
                # By the teacher's own sight alone.
                case = next(cases(one, settings, listener))
                found += rows_of(case.of_classes(), draws)
            except TeacherError as error:
                print(f"Skipped: {settings.model}. {error}")
    return found


def rows_of(case: Case, draws: int) -> Iterator[Row]:
    """Let simulated people answer for one data set that a teacher has seen."""
    whole = next(variations(case.truth, case.member.zero_shot.prompts))
    batch = with_votes(batch_of(case, whole))
    for person, err in (("exact", 0.0), ("errs in 5 %", _ERR)):
        for name, strategy in STRATEGIES.items():
            scores = [scored(batch, case.truth, strategy, err, seed) for seed in range(draws)]
            for answers, accuracy in zip(AT, np.mean(scores, axis=0).tolist(), strict=True):
                yield Row(
                    case.data, case.teacher, name, person, answers, round(accuracy, 4),
                    len(case.truth), draws,
                )  # fmt: skip


def scored(
    batch: Batch, truth: np.ndarray, strategy: Strategy, err: float, seed: int
) -> list[float]:
    """Return the accuracy of all labels after each number of answers in `AT`.

    Args:
        batch: of images nobody has answered for.
        truth: their classes (n,).
        strategy: what chooses the images to ask about.
        err: how often the person names another class.
        seed: of the person, and of the strategy.
    """
    rng = np.random.default_rng(seed)
    classes, found = len(batch.classes), []
    while True:
        refined = refine(batch)
        labels = refined.probabilities.argmax(axis=1)
        given = batch.known >= 0
        labels[given] = batch.known[given]
        answers = int(given.sum())
        if answers in AT:
            found.append(float((labels == truth).mean()))
        if answers >= min(AT[-1], len(truth)):
            return found + found[-1:] * (len(AT) - len(found))
        if strategy is _random:
            # It does not look: no labels are refined for it that are not scored.
            count, doubts = min(at for at in AT if at > answers) - answers, np.zeros(len(truth))
        else:
            count = _SCREEN if answers < 20 else _LATER
            doubts = doubt(batch, refined.probabilities)
        rows = strategy(batch, refined, doubts, count, seed)
        known = batch.known.copy()
        slips = rng.random(len(rows)) < err
        known[rows] = (truth[rows] + slips * rng.integers(1, classes, len(rows))) % classes
        batch = replace(batch, known=known)


def summarized(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the accuracy of each strategy, person and number of answers, averaged over data sets
    and teachers."""
    groups: dict[tuple[str, str, int], list[float]] = {}
    for row in rows:
        groups.setdefault((row.strategy, row.person, row.answers), []).append(row.accuracy)
    return [
        {
            "strategy": strategy,
            "person": person,
            "answers": answers,
            "accuracy": round(float(np.mean(accuracies)), 4),
        }
        for (strategy, person, answers), accuracies in groups.items()
    ]


def run(data: Sequence[str], teacher: Sequence[str], draws: int, listener: Listener) -> None:
    """Measure, print tables, and keep the figures of what belongs to this repository."""
    rows = measured(data, teacher, draws, listener)
    summary = summarized(rows)
    if not data and not teacher:
        keep({"rows": [asdict(row) for row in rows], "rows_summary": summary}, RESULTS)
    for person in dict.fromkeys(row.person for row in rows):
        sets = dict.fromkeys((row.data, row.teacher) for row in rows)
        lines = []
        for name in STRATEGIES:
            for place in [*sets, None]:
                own = {
                    row.answers: row.accuracy
                    for row in rows
                    if (row.data, row.teacher) == place
                    and (row.strategy, row.person) == (name, person)
                }
                if place is None:
                    own = {
                        one["answers"]: one["accuracy"]
                        for one in summary
                        if (one["strategy"], one["person"]) == (name, person)
                    }
                said = "all" if place is None else f"{place[0]}, {place[1]}"
                lines.append([said, name, *(f"{own[at]:.1%}" for at in AT)])
        head = ["data and teacher", "asked about", *(f"{at} answers" for at in AT)]
        print_table(f"Accuracy of all labels; the person {person}", head, lines, head[:2])
