"""`demo`: the built-in sample, from the drawing to the report."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.group import main, print_json, set_logging
from pipeline.cli.run import run


@main.command()
@click.argument(
    "folder", type=click.Path(path_type=Path, file_okay=False), default=Path("clip2yolo-demo")
)
@click.option("--draw-only", is_flag=True, help="Draw the images, and do nothing with them.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Print results and warnings only.")
@click.option("-v", "--verbose", is_flag=True, help="Print what the libraries log, too.")
@click.pass_context
def demo(
    context: click.Context,
    folder: Path,
    draw_only: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Draw the built-in sample into FOLDER, label it, train on it and write the report.

    FOLDER is clip2yolo-demo where none is named. It must be empty, or an earlier demo, which goes
    on where it was.

    Example: clip2yolo demo
    """
    from pipeline.sample.folder import set_up
    from pipeline.terminal import TerminalListener

    set_logging(verbose)
    listener = TerminalListener(quiet)
    config = set_up(folder, listener)
    if draw_only:
        if as_json:
            print_json({"config": str(config.absolute())})
        return
    context.invoke(run, config_file=config, as_json=as_json, quiet=quiet, verbose=verbose)
    listener.say(f"The config is {config}. `clip2yolo run --config {config}` runs it again.")
