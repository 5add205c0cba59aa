"""The command group, the options that commands share, and the one place that words errors."""

from __future__ import annotations

import copy
import errno
import io
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import __version__
from pipeline.errors import Clip2YoloError, ConfigError, describe_os_error
from pipeline.keys import keep_keys_out_of_logs
from pipeline.printable import READABLE, printable, printable_json

if TYPE_CHECKING:
    from pipeline.run.stage import Stamp
    from pipeline.student.unlike import Refuse
    from pipeline.terminal import TerminalListener


class _Misused(click.UsageError):
    """A mistake in a command line, which may hold somebody's file name."""

    def __init__(self, error: click.UsageError) -> None:
        super().__init__(error.format_message(), error.ctx)

    def show(self, file: Any = None) -> None:
        if self.ctx is not None:
            usage = self.ctx.get_usage().splitlines()
            echo(*usage, f"Try '{self.ctx.command_path} --help' for help.", "", err=True)
        echo(f"Error: {self.message}", err=True)


def echo(*lines: str, err: bool = False) -> None:
    """Print lines on stdout or stderr; the one way to do so, as names in them come from anybody."""
    for line in lines:
        print(printable(line), file=sys.stderr if err else sys.stdout, flush=True)


class _Main(click.Group):
    """The one place where expected errors become a sentence and an exit status."""

    def main(self, *args: Any, **options: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors=READABLE)
        return super().main(*args, **options)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*args, **options)
        except click.UsageError as error:
            raise _Misused(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _Misused(error) from error
        except Clip2YoloError as error:
            lines, status = error.args, error.exit_code
        except OSError as error:
            if error.errno == errno.EPIPE:
                # The reader (`| head`) has gone; there is nobody left to tell.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                ctx.exit(1)
            lines, status = (describe_os_error(error),), 1
        except MemoryError:
            lines, status = ("The memory is used up. Set a smaller `batch` and run again.",), 1
        except KeyboardInterrupt:
            lines, status = ("Stopped. The same command goes on from here.",), 130
        echo(f"error: {lines[0]}", *lines[1:], err=True)
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

    class OneLine(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            record = copy.copy(record)
            record.msg, record.args = printable(record.getMessage()), None
            if record.exc_info and record.exc_info[0] is not None:
                told = record.exc_text or self.formatException(record.exc_info)
                record.exc_text = "\n".join(map(printable, told.splitlines()))
            return super().format(record)

    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(logging.BASIC_FORMAT))
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, handlers=[handler])
    logging.captureWarnings(True)
    keep_keys_out_of_logs()
    logging.getLogger("pipeline").setLevel(logging.INFO if verbose else logging.WARNING)


def print_json(value: Any) -> None:
    """Print a result for machines, on stdout."""
    text = printable_json(json.dumps(value, indent=2, ensure_ascii=False))
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text), indent=2)
    print(text, flush=True)


def say_if_skipped(result: Stamp[Any], listener: TerminalListener, sentence: str) -> None:
    """Tell a person why nothing happened."""
    if result.skipped:
        listener.say(sentence)


def refused_share(text: str) -> Refuse | None:
    """Read `--reject`; None for "none".

    Raises:
        ConfigError: it is neither a word that is known nor a share.
    """
    if text == "none":
        return None
    if text == "auto":
        return "auto"
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:  # nor is NaN
        raise ConfigError(
            f"`--reject` is {text!r}. Give auto, none, or a share between 0 and 1: of pictures of "
            "its classes, how many the student may turn away."
        )
    return share
