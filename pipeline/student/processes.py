"""Training on several devices of one machine: a process on each.

ultralytics starts such processes itself, from a file that it writes (8.4.190): it empties the
training's folder before that, and hands the trainer over as a pickle, of which ours, with its
images and what was left by an earlier training, is none. So they are started here, in the
environment that ultralytics and torch look for; what they do there together is ultralytics' own.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.errors import Clip2YoloError, StudentError
from pipeline.student.epochs import EpochReport
from pipeline.student.task import Task

_POLL = 1.0  # seconds
_PATIENCE = 3.0  # seconds for a process to end, or for one that was killed to be found dead
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}  # the network of one machine


def fit_together(folder: Path, task: Task, on_epoch: Callable[[EpochReport], None]) -> None:
    """Do what `fit_here` does, with a process on each device; the first of them writes.

    Raises:
        StudentError, SourceError: as `train`; or a process has died.
    """
    place = folder / "processes"
    task.write(place)
    members = _Members(folder, place, task.devices, shown=task.level <= logging.INFO)
    try:
        for report in members.reports():
            on_epoch(report)
    finally:
        members.end()


@dataclass(frozen=True)
class _Member:
    """A process, and where what it prints besides lies; None where that is shown."""

    device: str
    process: subprocess.Popen[str]
    log: Path | None

    def last_words(self) -> str:
        try:
            lines = self.log.read_text("utf-8", "replace").split("\n") if self.log else []
        except OSError:
            lines = []
        said = [" ".join(line.split()) for line in lines if line.strip()]
        return f" It last said: {said[-1][:300].rstrip('.')}." if said else ""


class _Members:
    """The processes of a training.

    Args:
        folder: of the training.
        place: the task's folder.
        shown: whether their logs go to this process's stderr, and not to files.
    """

    def __init__(self, folder: Path, place: Path, devices: Sequence[str], shown: bool) -> None:
        self._told: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self._members: list[_Member] = []
        common = _environment(devices)
        for rank, device in enumerate(devices):
            log = None if shown else place / f"{rank}.log"
            own = common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            try:
                member = _Member(device, _start(place, folder, own, log), log)
            except BaseException:
                self.end()
                raise
            self._members.append(member)
            threading.Thread(target=self._listen, args=(rank,), daemon=True).start()

    def reports(self) -> Iterator[EpochReport]:
        """Yield each epoch's report until all processes have ended.

        Raises:
            StudentError, SourceError: a process cannot go on, or has died.
        """
        at_work = set(range(len(self._members)))
        while at_work:
            try:
                rank, facts = self._told.get(timeout=_POLL)
            except queue.Empty:
                self._refuse_dead()
                continue
            if facts is None:
                self._members[rank].process.wait()
                self._refuse_dead()
                at_work.discard(rank)
            elif "refused" in facts:
                self._refuse(**facts)
            else:
                yield EpochReport(**facts["epoch"])

    def end(self) -> None:
        """End what runs still."""
        for member in self._members:
            member.process.terminate()
        for member in self._members:
            try:
                member.process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
            assert member.process.stdin is not None
            member.process.stdin.close()

    def _listen(self, rank: int) -> None:
        lines = self._members[rank].process.stdout
        assert lines is not None
        with lines:
            for line in lines:
                self._told.put((rank, json.loads(line)))
        self._told.put((rank, None))

    def _refuse(self, refused: str, says: list[str], certain: bool) -> None:
        """Raise what a process says, unless it says so because another one has died."""
        until = time.monotonic() + _PATIENCE
        while not certain and time.monotonic() < until:
            self._refuse_dead()
            time.sleep(0.1)
        kind: type[Clip2YoloError] = getattr(errors, refused)
        raise kind(*says)

    def _refuse_dead(self) -> None:
        for member in self._members:
            if status := member.process.poll():
                raise StudentError(
                    f"The process that trains on {member.device} has died (exit status {status})."
                    f"{member.last_words()} Run the same command again: it goes on after the last "
                    "whole epoch."
                )


def _environment(devices: Sequence[str]) -> dict[str, str]:
    """What torch and ultralytics look for in each process."""
    from pipeline.yolo.library import find_free_network_port

    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC_")
    }
    network = _LOOPBACK.get(sys.platform)
    if devices[0] == "cpu" and network:
        inherited.setdefault("GLOO_SOCKET_IFNAME", network)
    return inherited | {
        "WORLD_SIZE": str(len(devices)),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_network_port()),
    }


def _start(
    place: Path, folder: Path, environment: dict[str, str], log: Path | None
) -> subprocess.Popen[str]:
    """Start a process that finds its modules where this one does, whatever lies in the current
    folder."""
    script = (
        f"import sys; sys.path = {sys.path!r}; from pipeline.student.member import main; main()"
    )
    command = [sys.executable, "-c", script, str(place), str(folder)]
    stderr = None if log is None else log.open("wb")
    try:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,  # which closes when this process ends, however it does
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
        )
    finally:
        if stderr is not None:
            stderr.close()
