"""Students of soft and of hard labels beside what ultralytics makes of the same labels by itself.

Every student starts from the same weights and sees the same images; seeds 0, 1 and 2. A row that is
in the results already is not trained again. Labeling needs the teachers and the photos; what it
leaves in `benchmarks/runs/distillation` (`distillation_cases.HOME`) is all that training needs, so
that folder can be taken to a machine with a GPU.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.distillation_cases import HOME, METHODS_OF_TRUTH, Case, known_cases
from benchmarks.distillation_students import METHODS, keep_to, row_of
from benchmarks.label_results import keep
from pipeline.errors import ConfigError
from pipeline.evaluation.metrics import proportion
from pipeline.files import write_text
from pipeline.terminal import TerminalListener, print_table

RESULTS = Path(__file__).parent / "results" / "distillation.json"
READY = HOME / "ready.txt"
SEEDS = (0, 1, 2)
Key = tuple[str, str, str, str, int]


def main(only: str = "", jobs: int = 1) -> None:
    """Train what is not in the results yet, and print all of them.

    Args:
        only: words of which each must stand in what is trained, as "everyday natural-tiny auto
            soft 0": data, teacher, labels, method, seed.
        jobs: students that are trained at a time.

    Raises:
        ConfigError: there is nothing to train.
    """
    if not READY.is_file():
        from benchmarks.distillation_labels import prepare  # needs what reads films, and more

        prepare(TerminalListener(False))
        write_text(READY, "All that was at hand is labeled. Without this file, it is looked again.")
    rows = _rows()
    done = {_key_of(row) for row in rows}
    todo = [one for one in students(known_cases()) if chosen(one, only)]
    if not todo:
        raise ConfigError(f"No student is called {only!r}; there is nothing to train.")
    todo = [one for one in todo if _key(*one) not in done]
    for row in _trained(todo, jobs):
        rows = sorted([*rows, row], key=_key_of)
        keep({"rows": rows}, RESULTS)
        print(
            f"{row['data']}, {row['teacher']} {row['labels']}, {row['method']}, seed "
            f"{row['seed']}: {row['accuracy']:.1%} in {row['seconds']:.0f} s",
            flush=True,
        )
    _print(rows)


def students(cases: list[Case]) -> Iterator[tuple[Case, str, int]]:
    """Case, method and seed of every student, seed by seed: what is cut off is whole so far."""
    for seed, case, method in itertools.product(SEEDS, cases, METHODS):
        if case.labels != "truth" or method in METHODS_OF_TRUTH:
            yield case, method, seed


def chosen(student: tuple[Case, str, int], only: str) -> bool:
    """Say whether a student is among those that words name; all are where there are no words."""
    case, method, seed = student
    words = [*case.data.split(), case.teacher, case.labels, *method.split(), str(seed)]
    return all(word in words for word in only.split())


def _key(case: Case, method: str, seed: int) -> Key:
    return case.data, case.teacher, case.labels, method, seed


def _key_of(row: dict[str, Any]) -> Key:
    return row["data"], row["teacher"], row["labels"], row["method"], row["seed"]


def _rows() -> list[dict[str, Any]]:
    found = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    return list(found.get("rows", []))


def _trained(todo: list[tuple[Case, str, int]], jobs: int) -> Iterator[dict[str, Any]]:
    """The rows of students, as they are done."""
    if jobs == 1:
        yield from (row_of(*one) for one in todo)
        return
    here = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    context = multiprocessing.get_context("spawn")
    shares: Any = context.Queue()
    for number in range(jobs):
        shares.put(here[number::jobs] or [here[number % len(here)]])
    with ProcessPoolExecutor(jobs, context, _take_share, (shares,)) as pool:
        failed: list[BaseException] = []
        for done in as_completed([pool.submit(row_of, *one) for one in todo]):
            if (error := done.exception()) is None:
                yield done.result()
            else:  # the others are worth their time still
                print(f"A student failed: {error}", flush=True)
                failed.append(error)
    if failed:
        raise failed[0]


def _take_share(shares: Any) -> None:
    keep_to(shares.get())


def _print(rows: list[dict[str, Any]]) -> None:
    """Print a row for each way, all seeds together."""
    lines = []
    groups = itertools.groupby(sorted(rows, key=_key_of), lambda row: _key_of(row)[:4])
    for (data, teacher, labels, method), members in groups:
        mine = list(members)
        n = sum(row["n"] for row in mine)
        means = [sum(row[key] for row in mine) / len(mine) for key in ("ece", "rejection")]
        share = proportion(round(sum(row["accuracy"] * row["n"] for row in mine)), n)
        assert share is not None
        lines.append(
            [
                data, teacher, labels, f"{mine[0]['labels_right']:.1%}", method, str(len(mine)),
                f"{share.value:.1%}", f"{share.low:.1%}–{share.high:.1%}",
                *(f"{mean:.3f}" for mean in means),
            ]
        )  # fmt: skip
    header = ["data", "teacher", "labels", "right", "student", "seeds", "accuracy", "95 %"]
    print_table("Students on the test images", [*header, "ece", "rejection"], lines)
    print("95 %: of the answers of all seeds together, on the same images.")
