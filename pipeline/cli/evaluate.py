"""Judging students: `evaluate`, and `promote`, which says which of them is in use."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.group import echo, main, on_a_run, print_json, refused_share, say_if_skipped

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.evaluation.stage import EvaluateCounts
    from pipeline.run.stage import Stamp
    from pipeline.terminal import TerminalListener


@main.command()
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True),
    help="Another evaluated run, or a folder of its `students/`, to compare the student with.",
)
@click.option(
    "--student",
    type=click.Path(path_type=Path),
    help="Ask another student, or this one in another format, about the same images, and compare: "
    "a run's folder, a student's, an exported folder, or a model's file.",
)
@click.option(
    "--reject",
    metavar="auto|none|SHARE",
    help="With --student: how well it knows what is none of its classes, as for classify.  "
    "[default: auto, where it can]",
)
@on_a_run
def evaluate(
    config: Config,
    listener: TerminalListener,
    as_json: bool,
    against: Path | None,
    student: Path | None,
    reject: str | None,
) -> None:
    """Compare the student with its teacher on held-out images, and with another student.

    Exit status 3: the student fails a gate of the config.

    Example: clip2yolo evaluate --config configs/packing_line.yaml --json
    """
    from pipeline import stages
    from pipeline.errors import ConfigError, GateError

    if against is not None and student is not None:
        raise ConfigError("Give `--against` or `--student`, not both.")
    if reject is not None and student is None:
        raise ConfigError("Give the student that may `--reject` with `--student`.")
    if against is None and student is None:
        print_evaluate(config, stages.evaluate(config, listener), as_json, listener)
        return
    failed = None
    try:
        stages.evaluate(config, listener)
    except GateError as error:
        failed = error  # told after the comparison that was asked for
    if student is not None:
        _print_guest(config, student, reject, as_json, listener)
    elif against is not None:
        _print_against(config, against, as_json)
    if failed is not None:
        raise failed


def _print_guest(
    config: Config, path: Path, reject: str | None, as_json: bool, listener: TerminalListener
) -> None:
    from pipeline.evaluation.guest import ask_guest
    from pipeline.export.open import open_student
    from pipeline.run.stage import Run
    from pipeline.student import Refusing

    refuse = refused_share(reject or "auto")
    student = open_student(path, config.student.device, config.student.precision)
    if reject is not None and refuse is not None:
        Refusing(student, refuse)  # it was asked for, so one that cannot says so
    found = ask_guest(Run.of(config, listener), student, path, refuse)
    if as_json:
        print_json(found.as_json())
    else:
        echo(found.sentence)


def _print_against(config: Config, other: Path, as_json: bool) -> None:
    from pipeline.evaluation.against import against, read_answers

    found = against(read_answers(config.workspace), read_answers(other))
    if as_json:
        print_json({"against": str(other), **found.as_json()})
    else:
        echo(found.sentence)


@main.command()
@click.argument("student", required=False)
@click.option("--rollback", is_flag=True, help="Go back to the student that was in use before.")
@on_a_run
def promote(
    config: Config,
    listener: TerminalListener,
    as_json: bool,
    student: str | None,
    rollback: bool,
) -> None:
    """Show which evaluated students are kept and which is in use, or put another into use.

    Example: clip2yolo promote --rollback
    """
    from pipeline.errors import ConfigError
    from pipeline.export.proved import in_words, proved_exports
    from pipeline.run.workspace import Workspace
    from pipeline.student.kept import Students

    if student and rollback:
        raise ConfigError("Name a student or use `--rollback`, not both.")
    workspace = Workspace(config.workspace)
    students = Students(workspace.students)
    if student or rollback:
        with workspace.locked():
            if student:
                students.promote(student)
            else:
                students.roll_back()
    in_use = students.promoted
    proved = [] if in_use is None else proved_exports(workspace.exports, in_use)
    if as_json:
        found = {"promoted": in_use and in_use.name, "students": students.names}
        print_json(found | {"exports": [asdict(one) for one in proved]})
        return
    for name in students.names:
        echo(f"{'*' if in_use and name == in_use.name else ' '} {name}")
    echo(f"In use: {in_use}" if in_use else "No student is in use yet.", *in_words(proved))


def print_evaluate(
    config: Config, result: Stamp[EvaluateCounts], as_json: bool, listener: TerminalListener
) -> None:
    """Print an evaluation as tables and sentences, or as JSON."""
    from pipeline.evaluation.analysis_wording import slice_sentences
    from pipeline.evaluation.record import read_evaluation
    from pipeline.evaluation.wording import conclusion, summary_rows
    from pipeline.run.workspace import Workspace
    from pipeline.terminal import print_table

    workspace = Workspace(config.workspace)
    evaluation = read_evaluation(workspace.evaluation)
    if as_json:
        print_json(evaluation.as_json())
        return
    say_if_skipped(result, listener, "The evaluation is up to date.")
    header, *rows = summary_rows(evaluation)
    print_table("Teacher and student", header, rows)
    for one in evaluation.left_out:
        echo(f"{one.name} is left out. {one.reason}")
    echo(conclusion(evaluation))
    for sentence in slice_sentences(evaluation):
        echo(sentence)
    for gate in evaluation.gates:
        echo(f"Gate {gate.gate} {gate.limit}: kept. {gate.sentence}")
    echo(f"Report: {workspace.report}")


def recall_failed_gates(config: Config, listener: TerminalListener) -> None:
    """Exit status 0 says that there was nothing to do, not that the last student was good."""
    from pipeline.evaluation.stage import EVALUATE
    from pipeline.run.workspace import Workspace

    stamp = EVALUATE.stamp(Workspace(config.workspace))
    failed = [gate.gate for gate in stamp.counts.gates if not gate.passed] if stamp else []
    if failed:
        listener.warn(
            f"The last student failed its gates ({', '.join(failed)}); "
            "`clip2yolo evaluate` says by how much."
        )
