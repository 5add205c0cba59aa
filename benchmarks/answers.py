"""What answers of people are worth: for the labels of all images, and to say how right they are."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import answers_coverage, answers_rows
from pipeline.terminal import TerminalListener


def main(data: Sequence[str] = (), teacher: Sequence[str] = (), draws: int = 3) -> None:
    """Simulate people, print tables and keep the figures.

    Args:
        data: further data sets, each a folder of class folders.
        teacher: further teachers: names, or folders of open_clip's `local-dir:`.
        draws: how often everything is drawn.

    Raises:
        ConfigError, SourceError: a folder that was named is none of class folders.
    """
    answers_rows.run(data, teacher, draws, TerminalListener(True))
    answers_coverage.run(data, teacher, TerminalListener(True))
