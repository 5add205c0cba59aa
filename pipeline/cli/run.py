"""The commands of a run: label, train, evaluate, all three, status, and a config to begin with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.group import main, on_a_run, print_json

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.stages import StageResult
    from pipeline.terminal import TerminalListener


def _labeling(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that label."""
    command = click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        help="What the teachers compute with, instead of what the config says.",
    )(command)
    return click.option(
        "--verify", is_flag=True, help="Read every file again, also where size and time are known."
    )(command)


@main.command()
@_labeling
@on_a_run
def label(
    config: Config,
    listener: TerminalListener,
    as_json: bool,
    precision: str | None,
    verify: bool,
) -> None:
    """Label the images with the teacher and export the folder dataset.

    Example: clip2yolo label --config configs/packing_line.yaml
    """
    from pipeline import stages
    from pipeline.stages.common import with_precision

    config = with_precision(config, precision)
    _print_label(config, stages.label(config, listener, verify=verify), as_json, listener)


@main.command()
@on_a_run
def train(config: Config, listener: TerminalListener, as_json: bool) -> None:
    """Train the student on the dataset that `label` exported.

    Example: clip2yolo train --config configs/packing_line.yaml
    """
    from pipeline import stages

    _print_train(config, stages.train(config, listener), as_json, listener)


@main.command()
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True),
    help="Another evaluated run, or a folder of its `students/`, to compare the student with.",
)
@on_a_run
def evaluate(
    config: Config, listener: TerminalListener, as_json: bool, against: Path | None
) -> None:
    """Compare the student with its teacher on held-out images, and with another student.

    Exit status 3: the student fails a gate of the config.

    Example: clip2yolo evaluate --config configs/packing_line.yaml --json
    """
    from pipeline import stages
    from pipeline.errors import GateError

    if against is None:
        _print_evaluate(config, stages.evaluate(config, listener), as_json, listener)
        return
    failed = None
    try:
        stages.evaluate(config, listener)
    except GateError as error:
        failed = error  # told after the comparison that was asked for
    _print_against(config, against, as_json)
    if failed is not None:
        raise failed


def _print_against(config: Config, other: Path, as_json: bool) -> None:
    from pipeline.against import compare, in_words
    from pipeline.stages.promote import read_answers

    found = compare(read_answers(config.workspace), read_answers(other))
    if as_json:
        print_json({"against": str(other), **found})
    else:
        click.echo(in_words(found))


@main.command()
@click.option("--if-changed", is_flag=True, help="Do nothing, quickly, where nothing is new.")
@_labeling
@on_a_run
def run(
    config: Config,
    listener: TerminalListener,
    as_json: bool,
    precision: str | None,
    verify: bool,
    if_changed: bool,
) -> None:
    """Label, train and evaluate, each only where something changed.

    Example: clip2yolo run --config configs/packing_line.yaml
    """
    from pipeline import stages
    from pipeline.stages.common import with_precision

    config = with_precision(config, precision)
    if if_changed and not verify and _nothing_is_new(config):
        if as_json:
            print_json({"changed": False})
        else:
            click.echo("Nothing is new: images, config and results are as they were.")
        _recall_failed_gates(config, listener)
        return
    labeled = stages.label(config, listener, verify=verify)
    _print_label(config, labeled, False, listener, silent=as_json)
    _print_train(config, stages.train(config, listener), False, listener, silent=as_json)
    _print_evaluate(config, stages.evaluate(config, listener), as_json, listener)


@main.command()
@on_a_run
def status(config: Config, listener: TerminalListener, as_json: bool) -> None:
    """Show which stages are done, what came out, and what would run next.

    Example: clip2yolo status --config configs/packing_line.yaml
    """
    from pipeline.status import next_command, stage_states
    from pipeline.terminal import print_table

    states = stage_states(config)
    if as_json:
        print_json(
            {
                "workspace": str(config.workspace),
                "stages": [state.__dict__ for state in states],
                "next": next_command(states),
            }
        )
        return
    print_table(
        str(config.workspace),
        ["stage", "state", "finished (UTC)", "what came out"],
        [[state.stage, state.state, state.finished or "", state.summary] for state in states],
    )
    command = next_command(states)
    click.echo(f"Next: clip2yolo {command}" if command else "Everything is up to date.")


@main.command()
@click.option("--images", required=True, type=click.Path(path_type=Path), help="What to label.")
@click.option("--classes", required=True, help="Class names, separated by commas.")
@click.option("--background", help="A class for everything else, left out of the dataset.")
@click.option(
    "--teacher",
    type=click.Choice(["clip", "pocket"]),
    default="clip",
    show_default=True,
    help="CLIP ViT-B/32, or the small one that comes with clip2yolo.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("clip2yolo.yaml"),
    show_default=True,
    help="The config to write.",
)
@click.option("--force", is_flag=True, help="Replace an existing config.")
@click.option("--json", "as_json", is_flag=True, help="Print the config's path as JSON.")
def init(
    images: Path,
    classes: str,
    background: str | None,
    teacher: str,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Write a commented config for a folder of images and a list of classes.

    Example: clip2yolo init --images photos/ --classes "cat, dog" --background other
    """
    from pipeline.starter import starter_config, write_starter

    names = [name.strip() for name in classes.split(",") if name.strip()]
    text = starter_config(images, names, output, teacher=teacher, background=background)
    write_starter(output, text, force=force)
    if as_json:
        print_json({"config": str(output.absolute())})
    else:
        click.echo(f"Wrote {output}. Look through it, then: clip2yolo run --config {output}")


def _nothing_is_new(config: Config) -> bool:
    from pipeline.status import next_command, stage_states

    return next_command(stage_states(config)) is None


def _recall_failed_gates(config: Config, listener: TerminalListener) -> None:
    """Exit status 0 says that there was nothing to do, not that the last student was good."""
    from pipeline.workspace import Workspace

    stamp = Workspace(config.workspace).stamp("evaluate")
    gates = [] if stamp is None else stamp.counts.get("gates", [])
    failed = [gate["gate"] for gate in gates if not gate["passed"]]
    if failed:
        listener.warn(
            f"The last student failed its gates ({', '.join(failed)}); "
            "`clip2yolo evaluate` says by how much."
        )


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
    from pipeline.promotion import Students
    from pipeline.workspace import Workspace

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
    if as_json:
        print_json({"promoted": in_use and in_use.name, "students": students.names})
        return
    for name in students.names:
        click.echo(f"{'*' if in_use and name == in_use.name else ' '} {name}")
    click.echo(f"In use: {in_use}" if in_use else "No student is in use yet.")


def _print_label(
    config: Config,
    results: list[StageResult],
    as_json: bool,
    listener: TerminalListener,
    silent: bool = False,
) -> None:
    from pipeline.terminal import label_rows, print_table

    labels, dataset = results
    if as_json:
        print_json({result.stage: _as_dict(result) for result in results})
        return
    _say_if_skipped(labels, listener, "The labels are up to date: images and settings unchanged.")
    _say_if_skipped(dataset, listener, "The dataset is up to date.")
    if silent:
        return
    counts = labels.counts
    print_table(
        f"Labels by {counts['teacher']}",
        ["class", "labels", *dataset.counts["splits"]],
        label_rows(counts, dataset.counts["splits"]),
    )
    human = f", {counts['human']:,} decided by a person" if counts["human"] else ""
    click.echo(
        f"{counts['accepted']:,} accepted, {counts['abstained']:,} abstained{human}; "
        f"{counts['embedded']:,} images embedded, {counts['from_cache']:,} from the cache; "
        f"{labels.seconds + dataset.seconds:.1f} s."
    )
    click.echo(f"Dataset: {config.workspace / 'dataset'}")
    if counts["abstained"]:
        click.echo(f"To decide by hand: {config.workspace / 'review.csv'}")


def _print_train(
    config: Config,
    result: StageResult,
    as_json: bool,
    listener: TerminalListener,
    silent: bool = False,
) -> None:
    if as_json:
        print_json({"train": _as_dict(result)})
        return
    _say_if_skipped(result, listener, "The student is up to date: dataset and settings unchanged.")
    if silent:
        return
    counts = result.counts
    click.echo(
        f"Student: {config.workspace / 'student' / 'weights.pt'} ({counts['epochs']} epochs, "
        f"{counts['valid_top1']:.1%} agreement with its labels on valid; {result.seconds:.1f} s)"
    )


def _print_evaluate(
    config: Config, result: StageResult, as_json: bool, listener: TerminalListener
) -> None:
    from pipeline.terminal import print_table
    from pipeline.wording import conclusion, summary_rows

    evaluation = json.loads((config.workspace / "evaluation.json").read_text("utf-8"))
    if as_json:
        print_json(evaluation)
        return
    _say_if_skipped(result, listener, "The evaluation is up to date.")
    header, *rows = summary_rows(evaluation)
    print_table("Teacher and student", header, rows)
    click.echo(conclusion(evaluation))
    for gate in evaluation["gates"]:
        click.echo(f"Gate {gate['gate']} {gate['limit']}: kept. {gate['sentence']}")
    click.echo(f"Report: {config.workspace / 'report.html'}")


def _say_if_skipped(result: StageResult, listener: TerminalListener, sentence: str) -> None:
    if result.skipped:
        listener.say(sentence)


def _as_dict(result: StageResult) -> dict[str, Any]:
    return {"skipped": result.skipped, "seconds": result.seconds, **result.counts}
