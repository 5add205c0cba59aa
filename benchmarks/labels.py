"""How right the labels are: plain zero-shot, refined by the batch, `auto`, and with five examples.

Every teacher at hand labels every data set with truth at hand, all of it and batches in which
images or words are unlucky. Beside that: what `unlike` and `doubt` find, and what a large batch
costs. Nothing is trained, and vectors are cached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.label_batches import Variation, variations
from benchmarks.label_data import Case, cases, data_sets, suits, teachers
from benchmarks.label_methods import Row, rows_of
from benchmarks.label_rankings import FIRST, doubts_of, rejection_of
from benchmarks.label_results import keep
from benchmarks.label_scale import measure
from pipeline.errors import TeacherError
from pipeline.terminal import TerminalListener, print_table

_HALF_A_POINT = 0.005  # below plain: a batch that refinement has made worse
_LARGE, _CLASSES = 100_000, 100
_MILLION = 1_000_000
_METHODS = 4  # rows of each batch


def main(
    data: Sequence[str] = (), teacher: Sequence[str] = (), million: bool = False, draws: int = 3
) -> None:
    """Label everything in every way, print a table for each teacher and a summary.

    Args:
        data: further data sets, each a folder of class folders.
        teacher: further teachers: names, or folders of open_clip's `local-dir:`.
        million: refine a million images, too.
        draws: how often each unlucky batch is drawn.

    Raises:
        ConfigError, SourceError: a folder that was named is none of class folders.
    """
    listener = TerminalListener(True)
    rows: list[Row] = []
    doubts: list[dict[str, Any]] = []
    rejections: list[dict[str, Any]] = []
    photos = data_sets([Path(folder) for folder in data], listener)
    for settings in teachers(teacher, listener):
        for one in photos:
            if not suits(settings, one):
                continue
            try:
                for case in cases(one, settings, listener):
                    known = case.of_classes()
                    found = [row for each in _batches(known, draws) for row in rows_of(known, each)]
                    _show(known, found)
                    rows += found
                    doubts += doubts_of(known, next(_batches(known)))
                    if (case.truth < 0).any():
                        rejections.append(rejection_of(case, next(_batches(case))))
            except TeacherError as error:
                print(f"Skipped: {settings.model}. {error}")
    summary = summarized(rows)
    # Figures of other people's images and teachers are not this repository's.
    ours = not data and not teacher
    if ours:
        keep(
            {
                "rows": [_rounded(asdict(row)) for row in rows],
                "summary": _rounded(summary),
                "rejection": [_rounded(one) for one in rejections],
                "doubt": doubts,
            }
        )
    costs: list[dict[str, Any]] = []
    for size in [_LARGE, *[_MILLION] * million]:
        costs.append(measure(size, _CLASSES))
        if ours:
            keep({"scale": [_rounded(one) for one in costs]})
    _show_rest(summary, rejections, doubts, costs)


def _batches(case: Case) -> Iterator[Any]:
    return variations(case.truth, case.member.zero_shot.prompts)


def summarized(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what all batches together say: of `auto` and `refined` how much of the errors of plain
    zero-shot they remove, on average over the batches, and where they harm; of examples how near
    they come to the centroids of the truth on whole data sets."""
    by_batch: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        by_batch.setdefault((row.teacher, row.data), {})[row.method] = row
    found: dict[str, Any] = {"batches": len(by_batch)}
    for method in ("refined", "auto"):
        gains = {
            key: ways[method].accuracy - ways["plain"].accuracy for key, ways in by_batch.items()
        }
        removed = {
            key: gain / (1 - by_batch[key]["plain"].accuracy)
            for key, gain in gains.items()
            if by_batch[key]["plain"].accuracy < 1
        }
        worst = min(gains, key=lambda key: gains[key])
        found[method] = {
            "errors_removed": float(np.mean(list(removed.values()))),
            "errors_removed_of": {
                teacher: float(np.mean([one for key, one in removed.items() if key[0] == teacher]))
                for teacher in dict.fromkeys(key[0] for key in removed)
            },
            "worst": f"{worst[0]}, {worst[1]}",
            "worst_gain": gains[worst],
            "batches_made_worse": sum(gain < -_HALF_A_POINT for gain in gains.values()),
        }
    reached = {
        f"{key[0]}, {key[1]}": ways["examples5"].accuracy / ceiling
        for key, ways in by_batch.items()
        if key[1].endswith(": all") and (ceiling := ways["examples5"].ceiling)
    }
    found["examples5_of_ceiling"] = reached
    return found


def _show(case: Case, rows: Sequence[Row]) -> None:
    """Print the table of a teacher on one data set."""
    lines = []
    for start in range(0, len(rows), _METHODS):
        plain, refined, auto, examples = rows[start : start + _METHODS]
        lines.append(
            [
                plain.data.split(": ", 1)[1],
                str(plain.n),
                *(_share(row) for row in (plain, refined, auto, examples)),
                f"{examples.ceiling:.1%}",
                str(auto.moved),
                f"{auto.seconds:.1f}",
                f"{plain.ece:.2f} → {auto.ece:.2f}",
            ]
        )
    head = ["batch", "images", "plain", "refined", "auto", "5 examples", "centroids", "moved", "s"]
    print_table(f"{case.teacher} on {case.data}", [*head, "calibration error"], lines)


def _share(row: Row) -> str:
    return f"{row.accuracy:.1%} ({row.low * 100:.1f}–{row.high * 100:.1f})"


def _show_rest(
    summary: dict[str, Any],
    rejections: Sequence[dict[str, Any]],
    doubts: Sequence[dict[str, Any]],
    costs: Sequence[dict[str, Any]],
) -> None:
    print_table(
        "What fits no class: area under the curve",
        ["teacher", "data", "unlike", "plain confidence", "auto's confidence"],
        [
            [
                one["teacher"],
                one["data"],
                *(f"{one[key]:.3f}" for key in ("unlike", "plain_confidence", "auto_confidence")),
            ]
            for one in rejections
        ],
        ["data"],
    )
    print_table(
        f"Errors among the first {FIRST} doubts",
        ["teacher", "data", "labels", "errors in all", "by doubt", "by margin"],
        [
            [
                one["teacher"],
                one["data"],
                one["labels"],
                f"{one['errors']} of {one['images']}",
                str(one["by_doubt"]),
                str(one["by_margin"]),
            ]
            for one in doubts
        ],
        ["data", "labels"],
    )
    print_table(
        "A large batch of random vectors",
        ["images", "classes", "seconds", "of cores", "peak MB", "plain", "auto"],
        [
            [
                f"{one['images']:,}",
                str(one["classes"]),
                f"{one['seconds']:.1f}",
                f"{one['core_seconds']:.1f}",
                "–" if one["peak_mb"] is None else f"{one['peak_mb']:,.0f}",
                f"{one['plain']:.1%}",
                f"{one['auto']:.1%}",
            ]
            for one in costs
        ],
    )
    print_table(
        f"All {summary['batches']} batches",
        ["labels", "errors removed", "made worse", "worst", "its gain"],
        [
            [
                method,
                f"{summary[method]['errors_removed']:.1%}",
                str(summary[method]["batches_made_worse"]),
                summary[method]["worst"],
                f"{summary[method]['worst_gain'] * 100:+.1f}",
            ]
            for method in ("refined", "auto")
        ],
        ["worst"],
    )
    for teacher, share in summary["auto"]["errors_removed_of"].items():
        print(f"{teacher}: auto removes {share:.1%} of the errors of plain zero-shot.")
    for case, reached in summary["examples5_of_ceiling"].items():
        print(f"{case}: five examples a class reach {reached:.1%} of the centroids of the truth.")


def _rounded(value: Any) -> Any:
    """The same with four decimals: more of them say nothing, and change each time."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return value


def _batches(case: Case, draws: int = 1) -> Iterator[Variation]:
    return variations(case.truth, case.member.zero_shot.prompts, range(draws))
