"""Runs that are killed at random moments until they are finished: `python -m tests.killed
config.yaml 50 7` kills fifty times, with the seed 7. The parent loads everything once and forks, so
that what is killed is work and not the loading of libraries."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

from pipeline import stages
from pipeline.config import Config, load_config

MEAN = 1.2  # seconds that a run is left alone


def work(config: Config) -> None:
    """All stages, in a process of its own."""
    os.setsid()
    try:
        stages.label(config)
        stages.train(config)
        stages.evaluate(config)
    except BaseException:  # noqa: BLE001 - told to the parent by the exit status
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def killed_once(config: Config, seconds: float | None) -> bool:
    """Start the run and kill it after so many seconds, if it lasts that long; True where it was."""
    child = os.fork()
    if child == 0:
        work(config)
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, "the run failed by itself"
            return False
        if deadline is not None and time.monotonic() >= deadline:
            try:
                os.killpg(child, signal.SIGKILL)
            except ProcessLookupError:  # it has not come to have a group of its own
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.002)


def main(file: str, kills: str, seed: str) -> None:
    import torch  # noqa: F401 - loaded before the forks
    import ultralytics  # noqa: F401

    import pipeline.student.trainer
    import pipeline.teachers.open_clip  # noqa: F401

    config, rng, left = load_config(Path(file)), random.Random(int(seed)), int(kills)
    finished = 0
    while left:
        if killed_once(config, rng.expovariate(1 / MEAN)):
            left -= 1
        else:
            finished += 1
            if left:  # another run from the beginning, its vectors and all
                shutil.rmtree(config.workspace)
                shutil.rmtree(os.environ["CLIP2YOLO_CACHE"], ignore_errors=True)
    assert not killed_once(config, None)
    print(finished + 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
