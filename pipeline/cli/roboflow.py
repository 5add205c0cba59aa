"""Roboflow: `upload`, `pull` and `deploy`."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from pipeline.cli.group import echo, main, on_a_run, print_json

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.terminal import TerminalListener


@main.command()
@click.option(
    "--only",
    type=click.Choice(["accepted", "abstained", "all"]),
    default="accepted",
    show_default=True,
    help="Which images; abstained ones go up without a label, to be annotated there.",
)
@click.option(
    "--create", is_flag=True, help="Create the project where it is missing, without asking."
)
@click.option(
    "--relabel",
    is_flag=True,
    help="Replace labels that were sent earlier and have changed here. `pull` first: what people "
    "corrected there in the meantime is replaced, too.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@on_a_run
def upload(
    config: Config,
    listener: TerminalListener,
    as_json: bool,
    only: str,
    create: bool,
    relabel: bool,
    dry_run: bool,
) -> None:
    """Send the labeled images to the Roboflow project that the config names.

    The key comes from ROBOFLOW_API_KEY or from `roboflow login`. What is there already is not sent
    again, so an interrupted upload goes on.

    Example: clip2yolo upload --create
    """
    from pipeline.roboflow.upload import known_to_be_there, planned, upload_dataset

    if dry_run:
        items = planned(config, only)
        there = known_to_be_there(config, items)
        counts = Counter((item.split, item.name or "(no label)") for item in items)
        if as_json:
            rows = [{"split": s, "class": n, "images": c} for (s, n), c in sorted(counts.items())]
            project = config.roboflow.project
            print_json({"project": project, "images": len(items), "there": there, "parts": rows})
            return
        for (split, name), count in sorted(counts.items()):
            echo(f"{split:>6}  {name}: {count:,}")
        echo(
            f"{len(items):,} images for {config.roboflow.project}, "
            f"{there:,} of them there already; nothing was sent."
        )
        return

    def may_create() -> bool:
        question = f"There is no project {config.roboflow.project!r} yet. Create it?"
        return create or (sys.stdin.isatty() and click.confirm(question, err=True))

    found = upload_dataset(config, only, may_create, listener, relabel)
    if as_json:
        print_json(found)
        return
    echo(
        f"{found['there']:,} images are in {found['workspace']}/{found['project']}; "
        f"{found['were_there']:,} of them were there before, {len(found['annotated']):,} keep a "
        "label that somebody gave them there."
    )


@main.command()
@click.option(
    "--version", "number", type=click.IntRange(min=1), help="Which version; by default the newest."
)
@on_a_run
def pull(config: Config, listener: TerminalListener, as_json: bool, number: int | None) -> None:
    """Take the labels that people corrected on Roboflow into the run.

    They override the teacher from the next `label` on.

    Example: clip2yolo pull --version 3
    """
    from pipeline.roboflow.pull import pull_labels

    found = pull_labels(config, number, listener)
    if as_json:
        print_json(found)
    else:
        echo(
            f"Version {found['version']}: {found['decisions']:,} decisions among "
            f"{found['images']:,} images; {found['strangers']:,} images are not of this run."
        )


@main.command()
@on_a_run
def deploy(config: Config, listener: TerminalListener, as_json: bool) -> None:
    """Send the promoted student's weights to the Roboflow project.

    Example: clip2yolo deploy
    """
    from pipeline.export.proved import Proved, in_words
    from pipeline.roboflow.deploy import deploy_student

    found = deploy_student(config, listener)
    if as_json:
        print_json(found)
    else:
        echo(
            f"Sent {found['student']} to {found['workspace']}/{found['project']} as "
            f"{found['model']}.",
            *in_words([Proved(**one) for one in found["exports"]]),
        )
