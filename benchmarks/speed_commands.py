"""Whole commands of clip2yolo, each in a process of its own: what they take by clock and CPU."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipeline.errors import Clip2YoloError

_PYTHON = sys.executable
_CLIP2YOLO = (_PYTHON, "-m", "pipeline.cli")
_WORDS = ("a photo of a cat", "a photo of a dog")


class Spent(NamedTuple):
    """What a command took: `cpu` of all its threads and processes."""

    seconds: float
    cpu: float


def spent_by(words: Sequence[str], environment: Mapping[str, str]) -> Spent:
    """Run a command to its end.

    Raises:
        Clip2YoloError: it fails.
    """
    before, started = os.times(), time.perf_counter()
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - started, os.times()
    if told.returncode:
        raise Clip2YoloError(f"{' '.join(words[1:5])} failed: {told.stderr[-400:]}")
    user, system = (getattr(after, f"children_{of}") for of in ("user", "system"))
    return Spent(seconds, user - before.children_user + system - before.children_system)


def label_from_nothing(
    photos: Path, prompts: int, model: Path, environment: Mapping[str, str]
) -> Spent:
    """Label all photos with an empty cache: start, scan, labels, dataset."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "run.yaml"
        settings = {
            "source": str(photos),
            "ontology": {f"a photo of a thing number {n}": f"c{n}" for n in range(prompts)},
            "teacher": {"model": f"local-dir:{model}"},
            "label": {"min_confidence": 0.0},
        }
        config.write_text(yaml.safe_dump(settings, sort_keys=False))
        own = {**environment, "CLIP2YOLO_CACHE": str(Path(folder) / "cache")}
        return spent_by([*_CLIP2YOLO, "label", "-q", "-c", str(config)], own)


def first_answers(
    picture: Path, model: Path, environment: Mapping[str, str], rounds: int
) -> list[dict[str, Any]]:
    """Time `classify` of one picture by two prompts, with each teacher, by turns, and beside them
    an import of torch, without which there is none. The prompts are encoded the first time, and
    come from the cache the second.

    Args:
        model: folder of a ViT-B/32, whose weights the system has in memory after a first reading.
        rounds: the medians count.

    Returns:
        A row for each: `command`, `prompts`, `seconds`, `cpu_seconds`, and as medians of ratios
        `times_import_torch` and `times_import_torch_cpu`.
    """
    found: dict[tuple[str, str], list[Spent]] = {}
    teachers = {"pocket": "pocket", "ViT-B/32": f"local-dir:{model}"}
    asked = [word for text in _WORDS for word in ("-p", text)]
    for _ in range(rounds):
        bare = spent_by([_PYTHON, "-c", "import torch"], environment)
        found.setdefault(("import torch", ""), []).append(bare)
        for name, teacher in teachers.items():
            with tempfile.TemporaryDirectory() as cache:
                own = {**environment, "CLIP2YOLO_CACHE": cache}
                words = [*_CLIP2YOLO, "classify", str(picture), "-t", teacher, *asked]
                for prompts in ("encoded", "from the cache"):
                    one = spent_by(words, own)
                    found.setdefault((f"classify, {name}", prompts), []).append(one)
    bare_ones = found["import torch", ""]
    return [
        {
            "command": command,
            "prompts": prompts,
            "seconds": round(statistics.median(one.seconds for one in of), 2),
            "cpu_seconds": round(statistics.median(one.cpu for one in of), 2),
            "times_import_torch": _ratio(
                [one.seconds for one in of], [b.seconds for b in bare_ones]
            ),
            "times_import_torch_cpu": _ratio([one.cpu for one in of], [b.cpu for b in bare_ones]),
        }
        for (command, prompts), of in found.items()
    ]


def _ratio(some: Sequence[float], others: Sequence[float]) -> float:
    """The median of ratios, turn by turn, since the machine's speed drifts."""
    return round(statistics.median(a / b for a, b in zip(some, others, strict=True)), 2)
