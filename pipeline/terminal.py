"""How a run looks in a terminal: sentences, bars and tables. Results go to stdout, the rest to
stderr, so that `--json` and pipes stay clean."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from pipeline.keys import without_key
from pipeline.listener import Listener, Progress, no_progress
from pipeline.printable import printable

_WIDE = 160  # characters
_LEAST = 5  # characters that a column takes, its border among them


class TerminalListener(Listener):
    """Tells a person what a stage is doing.

    Args:
        quiet: only warnings.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        if not self.quiet:
            self.console.print(printable(without_key(sentence)), markup=False)

    def warn(self, sentence: str) -> None:
        words = f"warning: {printable(without_key(sentence))}"
        self.console.print(words, style="yellow", markup=False)

    def epoch(self, report: Any) -> None:
        self.say(
            f"  epoch {report.epoch:>3}/{report.epochs}   train loss {report.train_loss:.3f}   "
            f"valid loss {report.valid_loss:.3f}   valid top-1 {report.valid_top1:6.1%}   "
            f"{report.seconds:.1f} s"
        )

    @contextlib.contextmanager
    def bar(self, title: str, unit: str) -> Iterator[Progress]:
        if self.quiet or not self.console.is_terminal:
            yield no_progress
            return
        columns = (
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]} {task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(printable(title), total=None, unit=unit, rate="")

            def progress(done: int, total: int) -> None:
                speed = bars.tasks[0].speed
                rate = f"({speed:,.1f}/s)" if speed else ""
                bars.update(task, completed=done, total=total, rate=rate)

            yield progress


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str] = ()
) -> None:
    """Print a table on stdout; the first column and those in `left` hold text, the others figures,
    which are right-aligned. Where it is too wide, cells are folded."""
    table = Table()
    for number, name in enumerate(header):
        text = number == 0 or name in left
        table.add_column(name, justify="left" if text else "right", overflow="fold")
    for row in rows:
        # As `Text`, or rich would read markup and emoji in class names.
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE  # a log or a file
    console.width = max(console.width, _LEAST * len(header) + 1)
    console.print(Text(printable(title), "bold"), soft_wrap=True)
    console.print(table)
