"""The command group, the options that commands share, and the one place that words errors."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import __version__
from pipeline.errors import Clip2YoloError, describe_os_error
from pipeline.keys import keep_keys_out_of_logs

if TYPE_CHECKING:
    from pipeline.run.stage import Stamp
    from pipeline.terminal import TerminalListener


class _Main(click.Group):
    """The one place where expected errors become a sentence and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Clip2YoloError as error:
            message, status = str(error), error.exit_code
        except OSError as error:
            if error.errno == errno.EPIPE:
                # The reader (`| head`) has gone; there is nobody left to tell.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                ctx.exit(1)
            message, status = describe_os_error(error), 1
        except MemoryError:
            message, status = "The memory is used up. Set a smaller `batch` and run again.", 1
        except KeyboardInterrupt:
            message, status = "Stopped. The same command goes on from here.", 130
        click.echo(f"error: {message}", err=True)
        return ctx.exit(status)


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clip2yolo")
def main() -> None:
    """Unlabeled images in, a small fast classifier out.

    \b
    clip2yolo demo                                       see it work on a sample that it draws
    clip2yolo init --images photos/ --classes cat,dog    write a config
    clip2yolo run                                        label, train, evaluate
    """


def on_a_run(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every command on a run has."""

    @click.option(
        "-c",
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("clip2yolo.yaml"),
        show_default=True,
        help="The run's YAML file.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Print results and warnings only.")
    @click.option("-v", "--verbose", is_flag=True, help="Print what the libraries log, too.")
    @wraps(command)
    def with_options(config_file: Path, quiet: bool, verbose: bool, **rest: Any) -> Any:
        from pipeline.config import load_config
        from pipeline.terminal import TerminalListener

        set_logging(verbose)
        return command(config=load_config(config_file), listener=TerminalListener(quiet), **rest)

    return with_options


def set_logging(verbose: bool) -> None:
    """Let the libraries' own log lines through to stderr, or keep them off it."""
    import logging

    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, stream=sys.stderr)
    logging.captureWarnings(True)
    keep_keys_out_of_logs()
    logging.getLogger("pipeline").setLevel(logging.INFO if verbose else logging.WARNING)


def print_json(value: Any) -> None:
    """Print a result for machines, on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say_if_skipped(result: Stamp[Any], listener: TerminalListener, sentence: str) -> None:
    """Tell a person why nothing happened."""
    if result.skipped:
        listener.say(sentence)
