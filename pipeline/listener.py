"""What a stage tells while it works: sentences, warnings, progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol


class Progress(Protocol):
    """Told how far a long piece of work has come; the result does not depend on it."""

    def __call__(self, done: int, total: int) -> None: ...


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


class Listener:
    """What a stage tells while it works. This one keeps silent; the command line's draws bars."""

    def say(self, sentence: str) -> None:
        """A fact about the run."""

    def warn(self, sentence: str) -> None:
        """Something a person should look at; the run goes on."""

    def epoch(self, report: Any) -> None:
        """An epoch of training has ended (`pipeline.student.EpochReport`)."""

    @contextlib.contextmanager
    def bar(self, title: str, unit: str) -> Iterator[Progress]:
        """Yield what is told of the progress of one long piece of work."""
        yield no_progress


SILENT = Listener()
