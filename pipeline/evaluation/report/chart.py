"""The chart of how right everybody is against how long they take, laid out to be drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.evaluation.metrics import Proportion
from pipeline.evaluation.report.placing import Box, Label, Mark, place_labels, width_of
from pipeline.evaluation.report.rows import Row
from pipeline.evaluation.wording import percent

_FULL = 14  # contenders at most whose names stand in the chart; of more, numbers
_RADIUS = 6.5
_LEAST_TIMES = 8.0  # a time axis ends at no less than this times its beginning
_LEAST_SHARES = 0.08  # and an axis of shares spans no less than this
_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # between lines across
_MOST_LINES = 7
_LONGEST = 26  # signs of a name in the chart


@dataclass(frozen=True)
class Shape:
    """What a chart is drawn for."""

    name: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    text: float  # size of the labels
    numbered: bool  # whether marks have numbers, which are explained beside the chart


# Two drawings of the same, since one scaled to the other's width cannot be read.
WIDE = Shape("wide", 720, 384, 58, 18, 14, 54, 13, False)
NARROW = Shape("narrow", 360, 330, 46, 10, 10, 50, 12.5, True)


@dataclass(frozen=True)
class Tick:
    """A line across or upright: where it is, and what is written at it ("" for nothing)."""

    at: float
    text: str


@dataclass(frozen=True)
class Point:
    """A contender in the chart."""

    row: Row
    number: int
    x: float
    y: float
    top: float  # of the interval's bar
    bottom: float
    text: str
    label: Label


@dataclass(frozen=True)
class Chart:
    """All that the template draws."""

    shape: Shape
    measure: str  # "accuracy", or "agreement with the teacher"
    frame: Box
    shares: list[Tick]
    times: list[Tick]
    points: list[Point]
    chance: Tick | None  # a line across
    below: str  # what is said where that lies below the axis; "" where it does not
    upright: list[Tick] = field(default_factory=list)  # who has a time and no share

    @property
    def radius(self) -> float:
        """Of the marks."""
        return _RADIUS

    @property
    def numbered(self) -> bool:
        """Whether the marks have numbers for names."""
        return any(point.text == str(point.number) for point in self.points)

    @property
    def said(self) -> str:
        """The chart in words, for who does not see it."""
        parts = [f"{point.row.name}: {point.row.words}" for point in self.points]
        return f"{self.measure} against time. {'; '.join(parts)}"


def draw_chart(rows: Sequence[Row], known: Proportion | None, measure: str, shape: Shape) -> Chart:
    """Lay out the chart.

    The axis of times is logarithmic. That of shares covers the intervals; chance has a line where
    that does not make everybody else indistinguishable.

    Args:
        rows: the contenders, each with a time; at least one with a share.
        known: what chance reaches; None: unknown.
        measure: what the shares are.
        shape: what it is drawn for.
    """
    frame = Box(shape.left, shape.top, shape.width - shape.right, shape.height - shape.bottom)
    first, last = _time_range([row.median for row in rows])
    chance = None if known is None else known.value
    low, high, chance_fits = _share_range(rows, chance)

    def x_of(value: float) -> float:
        share = math.log(value / first) / math.log(last / first)
        return round(frame.left + share * (frame.right - frame.left), 1)

    def y_of(value: float) -> float:
        return round(frame.bottom - (value - low) / (high - low) * (frame.bottom - frame.top), 1)

    numbered = shape.numbered or len(rows) > _FULL
    shown = [row for row in rows if row.share is not None]
    marks = []
    for number, row in enumerate(rows, start=1):
        if row.share is None:
            continue
        x, y = x_of(row.median), y_of(row.share.value)
        bar = Box(x - 2, y_of(row.share.high), x + 2, y_of(row.share.low))
        marks.append(Mark(x, y, _RADIUS, str(number) if numbered else _short(row.told), bar))
    chance_at = (
        Tick(y_of(chance), f"chance {percent(chance)}")
        if chance_fits and chance is not None
        else None
    )
    taken = [_text_box(chance_at, frame, shape.text)] if chance_at else []
    labels = place_labels(marks, frame, shape.text, taken)
    return Chart(
        shape=shape,
        measure=measure,
        frame=frame,
        shares=[Tick(y_of(value), f"{value * 100:.4g} %") for value in _share_lines(low, high)],
        times=[Tick(x_of(value), text) for value, text in _time_lines(first, last, shape)],
        points=[
            Point(row, rows.index(row) + 1, mark.x, mark.y, mark.bar.top, mark.bar.bottom,
                  mark.text, label)
            for row, mark, label in zip(shown, marks, labels, strict=True)
        ],
        chance=chance_at,
        below="" if chance_at or chance is None else _below(chance),
        upright=[
            Tick(x_of(row.median), _short(row.name)) for row in rows if row.share is None
        ],
    )  # fmt: skip


def _below(chance: float) -> str:
    return f"Chance, {percent(chance)}, is below this axis."


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _text_box(line: Tick, frame: Box, size: float) -> Box:
    """What the words at a line across cover, at its right end."""
    return Box(frame.right - width_of(line.text, size), line.at - size * 1.3, frame.right, line.at)


def _time_range(times: Sequence[float]) -> tuple[float, float]:
    first, last = min(times) / 1.5, max(times) * 1.6
    short = math.sqrt(max(_LEAST_TIMES / (last / first), 1.0))
    return first / short, last * short


def _time_lines(first: float, last: float, shape: Shape) -> list[tuple[float, str]]:
    """Whole powers of ten, with twos and fives between them where there is room to write."""
    decades = math.log10(last / first)
    many = decades < (2.4 if shape.width > 500 else 1.6)
    lines = []
    for power in range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1):
        for digit in range(1, 10):
            value = digit * 10.0**power
            if first <= value <= last:
                written = digit == 1 or (many and digit in (2, 5))
                lines.append((value, _time_text(value) if written else ""))
    return lines


def _time_text(value: float) -> str:
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"


def _share_range(rows: Sequence[Row], chance: float | None) -> tuple[float, float, bool]:
    """The ends of the axis of shares, and whether chance lies between them."""
    shares = [row.share for row in rows if row.share is not None]
    low, high = min(share.low for share in shares), max(share.high for share in shares)
    span = max(high - low, _LEAST_SHARES)
    fits = chance is not None and low - chance <= 0.6 * span
    if fits and chance is not None:
        low = min(low, chance)
    span = max(high - low, _LEAST_SHARES)
    middle, half = (low + high) / 2, span * 0.58
    return max(middle - half, -0.02), min(middle + half, 1.02), fits


def _share_lines(low: float, high: float) -> list[float]:
    step = next((step for step in _STEPS if (high - low) / step <= _MOST_LINES), _STEPS[-1])
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [at * step for at in range(max(first, 0), last + 1) if at * step <= 1 + 1e-9]
