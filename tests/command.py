"""clip2yolo in processes of its own that have loaded the largest libraries before they begin.

A server of forks loads them once for a process of tests; what a test kills or interrupts is a copy
of it, which starts in no time. Where a process has to begin with nothing, a test starts it itself.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBRARIES = ["torch", "torchvision", "open_clip", "polars", "scipy.cluster.vq", "scipy.optimize"]
HOW = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class Command:
    """A command that runs.

    Args:
        words: what follows `clip2yolo`.
        folder: where it stands.
        said: what it prints goes into `said.out` and `said.err` of this name.
        first: is done in the new process before anything else.
        environment: what is added to the variables of this process.
    """

    def __init__(
        self, words: tuple[str, ...], folder: Path, said: Path, first: Callable[[], None] | None,
        **environment: str,
    ) -> None:  # fmt: skip
        self.out, self.err = said.with_suffix(".out"), said.with_suffix(".err")
        given = words, folder, self.out, self.err, first, {**os.environ, **environment}
        self._process = _copies().Process(target=_run, args=given)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit status, as `subprocess` has it, or None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float = 120) -> int:
        """Wait for its end; returns the exit status."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode


def in_a_copy(call: Callable[..., None], *given: Any, seconds: float = 300) -> int:
    """Call a function of a module with what it is given, in such a process; returns the exit
    status, as `subprocess` has it."""
    process = _copies().Process(target=_call, args=(dict(os.environ), call, *given))
    process.start()
    process.join(seconds)
    assert process.exitcode is not None, "it does not end"
    return process.exitcode


def _call(environment: dict[str, str], call: Callable[..., None], *given: Any) -> None:
    os.environ.clear()
    os.environ.update(environment)
    call(*given)


def _copies() -> Any:
    """What starts copies of a process that has loaded the libraries."""
    context = multiprocessing.get_context(HOW)
    if HOW == "forkserver":
        context.set_forkserver_preload(LIBRARIES)
    return context


def _run(
    words: tuple[str, ...], folder: Path, out: Path, err: Path,
    first: Callable[[], None] | None, environment: dict[str, str],
) -> None:  # fmt: skip
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, stream.fileno())
        os.close(file)
    if first is not None:
        first()
    from pipeline.cli import main

    main(list(words), prog_name="clip2yolo")
