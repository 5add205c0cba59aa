"""One of the processes of a training on several devices: what `processes` starts.

    … TASK FOLDER     with RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT

It prints a line of JSON for each epoch (the first process alone), and one for why it cannot go on.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from pipeline.errors import Clip2YoloError, describe_os_error
from pipeline.machine import cores
from pipeline.student.epochs import EpochReport
from pipeline.student.task import Task


def main() -> None:
    """Train as the arguments say."""
    _end_with_whoever_asked()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C is for whoever asked
    lines = _own_stdout()
    task, folder = Task.read(Path(sys.argv[1])), Path(sys.argv[2])
    logging.basicConfig(level=task.level)

    def tell(**facts: object) -> None:
        lines.write(json.dumps(facts) + "\n")
        lines.flush()

    def on_epoch(report: EpochReport) -> None:
        tell(epoch=asdict(report))

    try:
        _train(task, folder, on_epoch)
        return
    except Clip2YoloError as error:
        certain = error.__cause__ is None  # else ultralytics or torch failed, perhaps for another
        tell(refused=type(error).__name__, says=error.args, certain=certain)
    except OSError as error:
        tell(refused="StudentError", says=[describe_os_error(error)], certain=True)
    # The others would fail for want of this one, and say so; now they wait.
    threading.Event().wait()


def _train(task: Task, folder: Path, on_epoch: Callable[[EpochReport], None]) -> None:
    import torch

    from pipeline.student.fit import fit_here

    if task.devices[0] == "cpu":
        torch.set_num_threads(max(cores() // len(task.devices), 1))
    fit_here(folder, task, on_epoch)
    torch.distributed.destroy_process_group()


def _own_stdout() -> TextIO:
    """Return stdout for our own lines, and have all that others print go to stderr."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return kept


def _end_with_whoever_asked() -> None:
    """Have this process end when the one that started it does, even if that one was killed: two
    trainings would write into one folder, were it begun again."""

    def wait() -> None:
        # Not through sys.stdin, whose lock would be held when Python ends.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main()
