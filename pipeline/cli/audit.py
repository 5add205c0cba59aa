"""`clip2yolo audit`: how right labels, teacher and student are, from a few answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.group import echo, main, on_a_run, print_json
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.config import Config
    from pipeline.evaluation.audit.estimate import Estimates
    from pipeline.evaluation.audit.judge import AuditFigures
    from pipeline.terminal import TerminalListener

_ENOUGH = 10  # answers, from which figures are given
_NAMED = 20  # classes that are named


@main.command()
@click.option(
    "--answers",
    type=click.IntRange(min=_ENOUGH),
    help="How many images to draw in all; more later adds to them.  [default: 100 at first]",
)
@click.option(
    "--teachers",
    "named",
    metavar="A,B,…",
    help="Say which of these teachers is best by the answers: names, or local-dir:folder.",
)
@on_a_run
def audit(
    config: Config,
    listener: TerminalListener,
    as_json: bool,
    answers: int | None,
    named: str | None,
) -> None:
    """Ask about a random sample of the images, and say how right the labels are.

    The first time it writes `audit.csv` into the run's folder. Fill in its column `class`, and run
    it again: it prints the accuracy of labels, teacher and student with 95 % intervals. What was
    answered is truth from then on and is not trained on.

    Example: clip2yolo audit --answers 100
    """
    from pipeline.cli.teachers import named_teachers
    from pipeline.evaluation.audit.work import audit as work
    from pipeline.run.stage import Run
    from pipeline.run.workspace import Workspace

    teachers = None if named is None else named_teachers((named,), "auto", "--teachers")
    found = work(config, answers, listener)
    sheet = Workspace(config.workspace).audit
    if teachers is not None and not found.answered:
        raise ConfigError(
            f"No image of the audit is answered yet, so it cannot say which teacher is best. Fill "
            f"in the column `class` of {sheet} first."
        )
    comparison = None
    if teachers is not None:
        from pipeline.cli.comparison import as_dict, print_comparison
        from pipeline.compare import compare

        comparison, _ = compare(config, teachers, found.answered, listener)
    for sentence in found.notes:
        listener.warn(sentence)
    if as_json:
        known = _as_dict(found, sheet)
        print_json(known if comparison is None else known | {"teachers": as_dict(comparison, None)})
        return
    _print(found, sheet, Run.of(config).ontology.classes)
    if comparison is not None:
        print_comparison(comparison, None)


def _print(found: AuditFigures, sheet: Path, classes: Sequence[str]) -> None:
    from pipeline.evaluation.audit.sheet import NONE
    from pipeline.evaluation.wording import interval, percent
    from pipeline.terminal import print_table
    from pipeline.values import counted

    open_ = found.drawn - found.answered
    if found.guesses is not None:
        said = {
            "labels": found.labels, "all guesses": found.guesses,
            "teacher, each image alone": found.teacher, "student": found.student,
        }  # fmt: skip
        print_table(
            f"By {counted(found.answered, 'answer')}, of {counted(found.images, 'image')}",
            ["", "right", "with 95 %", "answers", "by Wilson"],
            [
                [
                    name, percent(one.stratified.value), interval(one.stratified), str(one.answers),
                    f"{percent(one.wilson.value)} ({interval(one.wilson)})",
                ]
                for name, one in said.items()
                if one is not None
            ],
        )  # fmt: skip
    if open_:
        names = ", ".join(f"'{name}'" for name in (*classes[:_NAMED], NONE))
        more = f" or one of {rest:,} more" if (rest := len(classes) - _NAMED) > 0 else ""
        echo(
            f"{counted(open_, 'image')} of {found.drawn:,} to be answered: run `clip2yolo review "
            f"--audit`, or fill in the column `class` of {sheet} ({names}{more}). Then run this "
            "again."
        )
    if found.guesses is None and found.answered:
        echo(f"From {_ENOUGH} answers on it says how right the labels are.")


def _as_dict(found: AuditFigures, sheet: Path) -> dict[str, Any]:
    """What `--json` prints."""

    def figures(one: Estimates | None) -> dict[str, Any] | None:
        if one is None:
            return None
        return {
            "accuracy": vars(one.stratified),
            "difference": vars(one.difference),
            "tuned": vars(one.tuned),
            "wilson": vars(one.wilson),
            "weight": one.weight,
            "correlation": one.correlation,
            "images": one.images,
        }

    return {
        "sheet": str(sheet),
        "images": found.images,
        "drawn": found.drawn,
        "answered": found.answered,
        "labels": figures(found.labels),
        "guesses": figures(found.guesses),
        "teacher": figures(found.teacher),
        "student": figures(found.student),
        "notes": list(found.notes),
    }
