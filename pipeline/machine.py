"""What this process may use of the machine it is on: processors and devices."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ConfigError, DeviceError, OutOfMemory

_MANY = 100_000  # objects; fewer are looked through in no time


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import large libraries without looking for garbage meanwhile, and never again among what
    they have made: a fifth of the time that they take, as half a million objects stay for good."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > _MANY:
            gc.freeze()
        gc.enable()


def cores() -> int:
    """Return how many processors this process may run on: a container, a job scheduler or taskset
    may allow it fewer than there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


@functools.cache
def processor() -> str:
    """Return what this machine's processor is called and what it says that it can do: what was
    measured on one holds for those of the same words."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    told = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)  # of the first core
    said = {name.strip(): value.strip() for name, value in told.items()}
    # "flags" of x86, "Features" of Arm.
    return " ".join(
        said.get(name, "") for name in ("model name", "CPU part", "flags", "Features")
    ).strip()


def pick_device(asked: str) -> str:
    """Return `asked`, or for "auto" the best device of this machine: cuda, mps or cpu.

    Of several devices, the first: what needs only one goes there.

    Raises:
        DeviceError: the device that was asked for is not there; nothing else is taken instead.
    """
    import torch

    asked = asked.split(",")[0].strip()
    count = {"cpu": 1, "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0}
    count["mps"] = int(torch.backends.mps.is_available())
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if count[name])
    kind, colon, index = asked.partition(":")
    if count.get(kind, 0) <= (int(index) if index.isdecimal() else 0) or (
        colon and not index.isdecimal()
    ):
        there = ", ".join(name for name, here in count.items() if here)
        raise DeviceError(
            f"The device {asked!r} is not available here (available: {there}). "
            "Set `device: auto` or name one of these."
        )
    return asked


def check_device(asked: str, key: str) -> None:
    """Refuse a device that is not there, or one of several.

    Args:
        key: of the config, that asked for it.

    Raises:
        ConfigError: it is not there.
    """
    if asked not in ("auto", "cpu"):  # which are always there, so that torch need not be loaded
        for one in asked.split(","):
            try:
                pick_device(one)
            except DeviceError as error:
                raise ConfigError(f"`{key}`: {error}") from error


def streams_of(device: str) -> int:
    """Return how many batches are encoded side by side on a device of torch.

    A GPU takes one at a time. On a CPU a batch for each core, on one thread each, is faster than
    one batch on all of them: nobody waits for the slowest at the end of every layer.
    """
    return cores() if device == "cpu" else 1


@contextlib.contextmanager
def model_threads(count: int | None = None) -> Iterator[None]:
    """Have torch compute on so many threads here, and afterwards on as many as before.

    Libraries set the number for their own purposes and leave it; without a count it is only put
    back.
    """
    import torch

    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def out_of_memory(device: str) -> Iterator[None]:
    """Turn torch's ways to say that the memory is used up into one."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise OutOfMemory(f"The memory of {device} is used up.") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # the CPU allocator's words
            raise
        raise OutOfMemory("The memory is used up.") from error
