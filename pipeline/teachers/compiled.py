"""`torch.compile` for encoders, where a run is long enough to pay for it.

Whether it pays depends on model, machine and versions: one processor gains half of its speed on a
ViT-B/32, another a hundredth. So both ways are timed once, in a run so long that the
trial is lost in it, and what was measured is remembered for the next runs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import TeacherError
from pipeline.files import cache_dir, fingerprint, write_json
from pipeline.machine import processor

log = logging.getLogger(__name__)

Encode = Callable[[torch.Tensor], torch.Tensor]

_TRIAL = 1200.0  # seconds of work from which on a trial, about a minute of it, is worth its while
_FEW = 4000  # images of which even the timing of a few batches would be felt
_ROUNDS = 3


@dataclass(frozen=True)
class Rates:
    """What compiling gave for one model on one machine."""

    eager: float  # seconds an image
    compiled: float  # seconds an image; infinite where it could not be compiled
    seconds: float  # that compiling took

    def pays(self, images: int) -> bool:
        """Say whether so many images are encoded sooner with compiling than without."""
        return self.seconds + images * self.compiled < images * self.eager


def choose(encode: Encode, example: torch.Tensor, images: int, teacher: str, mode: str) -> Encode:
    """Return `encode`, or its compiled form where that is faster for so many images.

    Args:
        encode: takes a batch of the shape of `example`, and is always given that shape.
        example: a batch.
        images: how many are to come.
        teacher: fingerprint of the model.
        mode: "auto"; or "always" or "never", which measure nothing.

    Raises:
        TeacherError: it must be compiled and cannot be.
    """
    if mode == "never":
        return encode
    record = record_of("compiled", teacher, example)
    rates = rates_in(record)
    if mode == "auto" and rates is None and images < _FEW:
        return encode
    compiled: Encode = torch.compile(encode, dynamic=False)
    if mode == "always":
        try:
            compiled(example)
        except Exception as error:  # whatever a compiler may fail with
            raise TeacherError(
                f"The teacher cannot be compiled ({_short(error)}). torch.compile wants a C++ "
                "compiler on CPUs and Triton on GPUs. Install it, or set `compile: auto`."
            ) from error
        return compiled
    if rates is None:
        eager = seconds_of(encode, example)
        if images * eager < _TRIAL:
            return encode
        rates = _try(compiled, example, eager)
        with contextlib.suppress(OSError):  # a cache that takes nothing: it is measured again
            write_json(record, asdict(rates))
        log.info(
            "compiling takes %.0f s, then %.2f times as fast", rates.seconds, eager / rates.compiled
        )
        return compiled if rates.compiled < rates.eager else encode
    return compiled if rates.pays(images) else encode


def _try(compiled: Encode, example: torch.Tensor, eager: float) -> Rates:
    started = time.perf_counter()
    try:
        compiled(example)
    except Exception as error:  # noqa: BLE001 - no compiler, or a model it cannot compile: it does not pay
        log.info("the teacher cannot be compiled: %s", _short(error))
        return Rates(eager, 1e9, time.perf_counter() - started)
    return Rates(eager, seconds_of(compiled, example), time.perf_counter() - started)


def seconds_of(encode: Encode, example: torch.Tensor) -> float:
    """Return the least time that an image takes; the first call warms up."""
    times = []
    for _ in range(_ROUNDS + 1):
        started = time.perf_counter()
        encode(example).sum().item()  # waits for a GPU
        times.append(time.perf_counter() - started)
    return min(times[1:]) / len(example)


def record_of(kind: str, teacher: str, example: torch.Tensor) -> Path:
    """Return where is remembered what another way to compute gave for a model on this machine."""
    where = torch.cuda.get_device_name(example.device) if example.is_cuda else processor()
    capability = torch.backends.cpu.get_cpu_capability()
    key = fingerprint(teacher, list(example.shape), where, capability, torch.__version__)
    return cache_dir() / kind / f"{key[:32]}.json"


def rates_in(record: Path) -> Rates | None:
    """Return what is remembered; None where nothing can be read."""
    try:
        values: dict[str, Any] = json.loads(record.read_text("utf-8"))
        return Rates(**values)
    except (OSError, ValueError, TypeError):
        return None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
