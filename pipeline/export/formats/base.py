"""What a format must do, and what is known of one before it is asked."""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from pipeline.export.graph import Graph

Precision = str  # "fp32", "fp16" or "int8"


@dataclass(frozen=True)
class Job:
    """What is to be converted."""

    graph: Callable[[], Graph]  # a new one each time: some converters change it
    imgsz: int  # pixels
    precision: Precision
    # Inputs (n, 3, imgsz, imgsz) of the run's own images, to measure ranges on; for int8 only.
    calibration: Callable[[], np.ndarray]


class Format(Protocol):
    """One format; one module each."""

    name: str  # in configs, folders and labels.json
    title: str  # for people
    precisions: tuple[Precision, ...]
    packages: tuple[str, ...]  # modules that converting needs, as they are imported
    packages_int8: tuple[str, ...] = ()  # and those that int8 needs besides
    extra: str  # of clip2yolo, that installs them
    runtime: str  # package that predict.py asks for
    batch: int | None  # inputs that it takes at once; None for any number
    input_name: str = "images"  # what the model calls what it takes, and what it gives
    output_names: tuple[str, str] = ("probabilities", "features")

    def impossible(self) -> str | None:
        """Say in a sentence why this machine cannot convert to it, beyond packages; None where it
        can."""
        return None

    def unprovable(self) -> str | None:
        """Say in a sentence why what was converted cannot answer on this machine; None where it
        can."""
        return None

    @abstractmethod
    def convert(self, job: Job, folder: Path) -> Sequence[str]:
        """Write the model into a folder; returns the names of its files, the one to open first.

        Raises:
            StudentError: it cannot be converted.
        """


def missing(wanted: Format, precision: Precision) -> str | None:
    """Say in a sentence what keeps this machine from converting to a format; None where nothing
    does. No converter is imported."""
    if precision not in wanted.precisions:
        return (
            f"{wanted.title} is not exported in {precision} here, but in "
            f"{' and '.join(wanted.precisions)}."
        )
    if reason := wanted.impossible():
        return reason
    absent = [
        name.replace("_", "-") for name in packages_for(wanted, precision) if not _is_there(name)
    ]
    if not absent:
        return None
    return (
        f"Exporting to {wanted.title} needs {' and '.join(absent)}. "
        f"Install it: pip install 'clip2yolo[{wanted.extra}]'"
    )


def packages_for(wanted: Format, precision: Precision) -> tuple[str, ...]:
    """Return the modules that converting at a precision needs."""
    if precision == "int8":
        return (*wanted.packages, *wanted.packages_int8)
    return wanted.packages


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
