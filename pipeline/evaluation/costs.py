"""What answering takes beside time: operations, a new process, memory."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipeline
from pipeline.evaluation import launch
from pipeline.records import Predictor

_LIMIT = 120.0  # seconds for a new process
_QUICK = 4.0  # seconds below which one more process is tried: the first may have met a cold disk


@dataclass(frozen=True)
class Costs:
    """Of one who answers; None where it could not be measured."""

    flops: int | None = None  # for one image: two for each multiplication that is added up
    cold_start_s: float | None = None  # from the start of a process to its first answer
    peak_memory_mb: float | None = None  # the most that this process held


@dataclass(frozen=True)
class Start:
    """A command that answers on one picture in a new process."""

    command: Sequence[str]
    given: bytes = b""  # on its standard input


def own_process(opening: Any, picture: Path, max_pixels: int) -> Start:
    """Return the start of a process of ours.

    Args:
        opening: of `pipeline.evaluation.first_answer`: what opens the predictor.
        picture: the file that it answers on.
        max_pixels: of the largest picture.
    """
    command = [sys.executable, "-m", "pipeline.evaluation.first_answer"]
    return Start(command, pickle.dumps((opening, picture, max_pixels)))


def start_of_export(folder: Path, picture: Path) -> Start:
    """Return the start of an exported folder's own predict.py: of what is handed on."""
    return Start([sys.executable, str(folder / "predict.py"), str(picture)])


def cold_start(start: Start) -> Costs:
    """Run a command in a new process; returns how long it took to answer, imports included, and how
    much memory. The files that it reads are in the system's cache, as they have just been read."""
    found = _run(start)
    if found is not None and found["seconds"] < _QUICK and (again := _run(start)) is not None:
        found = min(found, again, key=lambda one: float(one["seconds"]))
    if found is None:
        return Costs()
    return Costs(cold_start_s=found["seconds"], peak_memory_mb=found["megabytes"])


def _run(start: Start) -> dict[str, Any] | None:
    root = str(Path(pipeline.__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-I", "-S", launch.__file__, str(_LIMIT), *start.command],
        input=start.given,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        cwd=root,  # Python looks there first, and nobody's own files should be found
        check=False,
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def flops_of(predictor: Predictor, data: bytes, max_pixels: int) -> int | None:
    """Return the operations for one image, as torch counts them: of matrix products, convolutions
    and attention, which are nearly all; None for who computes without torch.

    Args:
        data: the bytes of an image file.
        max_pixels: of the largest picture.
    """
    if "torch" not in sys.modules:
        return None
    from torch.utils.flop_counter import FlopCounterMode

    prepared = [predictor.read(data, max_pixels)]
    with FlopCounterMode(display=False) as counter:
        predictor.predict(prepared)
    return counter.get_total_flops() or None
