"""Values with a spelling of their own: counts, durations, sizes, limits, frames of a film."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are taken; one of `frames` and `seconds` is given."""

    frames: int | None  # every so many frames
    seconds: float | None  # one in so many seconds
    skip_similar: bool  # only frames that differ from the last one kept


def counted(number: int, noun: str) -> str:
    """Return "1 image", "2 images", "1,000 images"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def seconds_of(text: str) -> float:
    """Return the seconds of a duration such as "0.5s", "200ms" or "2m".

    Raises:
        ValueError: it is none.
    """
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*", text)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is no duration; write it as 0.5s, 200ms or 2m")
    return float(match[1]) * units[match[2]]


def bytes_of(text: str) -> int:
    """Return the bytes of a size such as "256MB" or "1.5 GB", in powers of ten.

    Raises:
        ValueError: it is none, or less than a kilobyte.
    """
    units = {"kb": 10**3, "mb": 10**6, "gb": 10**9}
    match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*(kb|mb|gb)\s*", text, re.IGNORECASE)
    size = 0 if match is None else int(float(match[1]) * units[match[2].lower()])
    if size < 1000:
        raise ValueError(f"{text!r} is no size; write it as 256MB or 1GB")
    return size


_FORM = re.compile(r"\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


@dataclass(frozen=True)
class Limit:
    """What a gate asks of one figure of a student."""

    name: str  # of the figure: accuracy, agreement, speedup or regression
    sign: str  # ">=", ">", "<=" or "<"
    limit: float

    @property
    def text(self) -> str:
        """The limit as a person reads it."""
        return f"{self.sign} {self.limit:g}"

    def keeps(self, value: float) -> bool:
        """Say whether a value keeps the limit."""
        return {
            ">=": value >= self.limit,
            ">": value > self.limit,
            "<=": value <= self.limit,
            "<": value < self.limit,
        }[self.sign]


def parse_limit(name: str, text: str) -> Limit:
    """Read a limit such as ">= 0.9", "<= 1%" or "> 5".

    Raises:
        ValueError: it is none, or points the wrong way.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f'{text!r} is no limit; write it as ">= 0.9" or "<= 1%"')
    sign, limit = match[1], float(match[2]) / (100 if match[3] else 1)
    if (sign[0] == "<") != (name == "regression"):
        raise ValueError(f"{text!r} points the wrong way for {name}")
    if name != "speedup" and limit > 1:
        raise ValueError(f"{text!r} is beyond 1, and {name} is a share")
    return Limit(name, sign, limit)
