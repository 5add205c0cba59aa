"""The commands of a run: label, train, all stages, status, and a config to begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.evaluate import print_evaluate, recall_failed_gates
from pipeline.cli.export import print_exports
from pipeline.cli.group import echo, main, on_a_run, print_json, say_if_skipped
from pipeline.errors import ConfigError
from pipeline.values import counted

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.dataset.stage import DatasetCounts
    from pipeline.labels.counts import LabelCounts
    from pipeline.run.stage import StageState, Stamp
    from pipeline.student import TrainResult
    from pipeline.terminal import TerminalListener


def _labeling(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that label."""
    command = click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        help="What the teachers compute with, instead of what the config says.",
    )(command)
    command = click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        help="Who computes vectors: this machine, or a Ray cluster.",
    )(command)
    command = click.option(
        "--address",
        metavar="HOST:PORT",
        help="Of a Ray cluster that is there; without it `--engine ray` starts one here.",
    )(command)
    command = click.option(
        "--refine",
        type=click.Choice(["auto", "always", "none"]),
        help="Whether the images together correct the labels, instead of what the config says.",
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
    refine: str | None,
    engine: str | None,
    address: str | None,
    verify: bool,
) -> None:
    """Label the images with the teacher and export the folder dataset.

    Example: clip2yolo label --config configs/packing_line.yaml
    """
    from pipeline import stages
    from pipeline.imports import only_answers

    only_answers()
    config = config.with_precision(precision).with_refine(refine).with_engine(engine, address)
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
@click.option("--if-changed", is_flag=True, help="Do nothing, quickly, where nothing is new.")
@_labeling
@on_a_run
def run(
    config: Config,
    listener: TerminalListener,
    as_json: bool,
    precision: str | None,
    refine: str | None,
    engine: str | None,
    address: str | None,
    verify: bool,
    if_changed: bool,
) -> None:
    """Label, train, export where the config says so, and evaluate, each only where something
    changed.

    Example: clip2yolo run --config configs/packing_line.yaml
    """
    from pipeline import stages

    config = config.with_precision(precision).with_refine(refine).with_engine(engine, address)
    if if_changed and not verify and _nothing_is_new(config):
        if as_json:
            print_json({"changed": False})
        else:
            echo("Nothing is new: images, config and results are as they were.")
        recall_failed_gates(config, listener)
        return
    labeled = stages.label(config, listener, verify=verify)
    _print_label(config, labeled, False, listener, silent=as_json)
    _print_train(config, stages.train(config, listener), False, listener, silent=as_json)
    if config.exports:
        exported = stages.export(config, listener)
        if not as_json:
            print_exports(config, exported, as_json)
    print_evaluate(config, stages.evaluate(config, listener), as_json, listener)


@main.command()
@on_a_run
def status(config: Config, listener: TerminalListener, as_json: bool) -> None:
    """Show which stages are done, what came out, and what would run next.

    Example: clip2yolo status --config configs/packing_line.yaml
    """
    from pipeline import stages
    from pipeline.run.stage import next_command
    from pipeline.terminal import print_table

    states = stages.status(config)
    if as_json:
        print_json(
            {
                "workspace": str(config.workspace),
                "stages": [_state_as_dict(state) for state in states],
                "next": next_command(states),
            }
        )
        return
    print_table(
        str(config.workspace),
        ["stage", "state", "finished (UTC)", "what came out"],
        [[state.stage, state.state, state.finished or "", state.summary] for state in states],
        left=("state", "finished (UTC)", "what came out"),
    )
    command = next_command(states)
    echo(f"Next: clip2yolo {command}" if command else "Everything is up to date.")


@main.command()
@click.option("--images", required=True, type=click.Path(path_type=Path), help="What to label.")
@click.option("--classes", help="Class names, separated by commas.")
@click.option(
    "--examples",
    type=click.Path(path_type=Path),
    help="A folder with a folder of pictures for each class, named after it.",
)
@click.option("--no-prompts", is_flag=True, help="Let examples alone say what their class is.")
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
    classes: str | None,
    examples: Path | None,
    no_prompts: bool,
    background: str | None,
    teacher: str,
    output: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Write a commented config for a folder of images and a list of classes, or examples of them.

    Example: clip2yolo init --images photos/ --classes "cat, dog" --background other
    """
    from pipeline.starter import starter_config, write_starter

    if classes is None and examples is None:
        raise ConfigError("Name the classes with `--classes`, or show them with `--examples`.")
    if no_prompts and examples is None:
        raise ConfigError("`--no-prompts` needs `--examples`: something must say what a class is.")
    names = [name.strip() for name in (classes or "").split(",") if name.strip()]
    text = starter_config(
        images,
        names,
        output,
        teacher=teacher,
        background=background,
        examples=examples,
        prompts=not no_prompts,
    )
    write_starter(output, text, force=force)
    if as_json:
        print_json({"config": str(output.absolute())})
    else:
        echo(f"Wrote {output}. Look through it, then: clip2yolo run --config {output}")


def _nothing_is_new(config: Config) -> bool:
    from pipeline import stages
    from pipeline.run.stage import next_command

    return next_command(stages.status(config)) is None


def _print_label(
    config: Config,
    results: tuple[Stamp[LabelCounts], Stamp[DatasetCounts]],
    as_json: bool,
    listener: TerminalListener,
    silent: bool = False,
) -> None:
    from pipeline.run.workspace import Workspace
    from pipeline.terminal import print_table

    labels, dataset = results
    if as_json:
        print_json({result.stage: _as_dict(result) for result in results})
        return
    say_if_skipped(labels, listener, "The labels are up to date: images and settings unchanged.")
    say_if_skipped(dataset, listener, "The dataset is up to date.")
    if silent:
        return
    counts, splits = labels.counts, dataset.counts.splits
    rows = []
    for class_name in counts.classes:
        dealt = [part.get(class_name) for part in splits.values()]
        cells = ["left out" if number is None else f"{number:,}" for number in dealt]
        rows.append([class_name, f"{counts.per_class[class_name]:,}", *cells])
    print_table(f"Labels by {counts.teacher}", ["class", "labels", *splits], rows)
    human = f", {counts.human:,} decided by a person" if counts.human else ""
    echo(
        f"{counts.accepted:,} accepted, {counts.abstained:,} abstained{human}; "
        f"{counted(counts.embedded, 'image')} embedded, {counts.from_cache:,} from the cache; "
        f"{labels.seconds + dataset.seconds:.1f} s."
    )
    workspace = Workspace(config.workspace)
    echo(f"Dataset: {config.dataset.to or workspace.dataset}")
    if counts.moved:
        echo(f"Moved by what the images show together: {counted(counts.moved, 'image')}.")
    if counts.notices:
        echo(f"Images alike that the words do not fit: {workspace.notices}")
    if counts.abstained:
        echo(f"To decide by hand: {workspace.review}")


def _print_train(
    config: Config,
    result: Stamp[TrainResult],
    as_json: bool,
    listener: TerminalListener,
    silent: bool = False,
) -> None:
    from pipeline.run.workspace import Workspace

    if as_json:
        print_json({"train": _as_dict(result)})
        return
    say_if_skipped(result, listener, "The student is up to date: dataset and settings unchanged.")
    if silent:
        return
    counts = result.counts
    echo(
        f"Student: {Workspace(config.workspace).weights} ({counted(counts.epochs, 'epoch')}, "
        f"{counts.valid_top1:.1%} agreement with its labels on valid; {result.seconds:.1f} s)"
    )


def _as_dict(stamp: Stamp[Any]) -> dict[str, Any]:
    return {"skipped": stamp.skipped, "seconds": stamp.seconds, **asdict(stamp.counts)}


def _state_as_dict(state: StageState) -> dict[str, Any]:
    return {**vars(state), "counts": {} if state.counts is None else asdict(state.counts)}
