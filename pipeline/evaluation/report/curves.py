"""The training curve, laid out for a template to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluation.report.chart import Tick
from pipeline.evaluation.report.placing import Box
from pipeline.student.epochs import EpochReport

_WIDTH, _HEIGHT = 460, 230
_FRAME = Box(48, 12, 412, 196)
_APART = 15  # names at the ends of two lines
_LINES = 5  # across, at most


@dataclass(frozen=True)
class Line:
    """A line and the name at its end."""

    kind: str  # "train" or "valid"
    name: str
    path: str
    end: float


@dataclass(frozen=True)
class Plot:
    """A figure by epoch."""

    title: str
    width: int
    height: int
    frame: Box
    across: list[Tick]
    upright: list[Tick]
    lines: list[Line]


def draw_training(reports: Sequence[EpochReport]) -> list[Plot]:
    """Lay out losses and top-1 by epoch; nothing for fewer than two epochs."""
    if len(reports) < 2:
        return []
    losses = {
        "train": [report.train_loss for report in reports],
        "valid": [report.valid_loss for report in reports],
    }
    right = {"valid": [100 * report.valid_top1 for report in reports]}
    return [
        _plot("Cross-entropy", reports, losses, max(map(max, losses.values())), ""),
        _plot("Top-1 on the valid split, against its labels", reports, right, 100.0, " %"),
    ]


def _plot(
    title: str,
    reports: Sequence[EpochReport],
    values: dict[str, list[float]],
    highest: float,
    unit: str,
) -> Plot:
    f = _FRAME
    step = _step(highest or 1.0)
    top = math.ceil((highest or 1.0) / step - 1e-9) * step
    first, last = reports[0].epoch, reports[-1].epoch

    def x_of(epoch: float) -> float:
        return round(f.left + (epoch - first) / (last - first) * (f.right - f.left), 1)

    def y_of(value: float) -> float:
        return round(f.bottom - value / top * (f.bottom - f.top), 1)

    ends = _apart({kind: y_of(line[-1]) for kind, line in values.items()})
    lines = [
        Line(
            kind,
            kind,
            "M" + "L".join(
                f"{x_of(report.epoch)} {y_of(value)}"
                for report, value in zip(reports, line, strict=True)
            ),
            ends[kind],
        )
        for kind, line in values.items()
    ]  # fmt: skip
    across = [
        Tick(y_of(at * step), f"{at * step:.4g}{unit}") for at in range(round(top / step) + 1)
    ]
    epochs = sorted({first, (first + last) // 2, last})
    return Plot(
        title, _WIDTH, _HEIGHT, f, across,
        [Tick(x_of(epoch), f"epoch {epoch}" if epoch == first else str(epoch)) for epoch in epochs],
        lines,
    )  # fmt: skip


def _step(highest: float) -> float:
    """A round number that few of which reach the highest value."""
    power = 10.0 ** math.floor(math.log10(highest / _LINES))
    return next(digit * power for digit in (1, 2, 5, 10) if highest / (digit * power) <= _LINES)


def _apart(ends: dict[str, float]) -> dict[str, float]:
    """Where names stand, so that two lines that end together do not write over each other."""
    if len(ends) < 2:
        return ends
    (upper, above), (lower, below) = sorted(ends.items(), key=lambda item: item[1])
    push = max(_APART - (below - above), 0.0) / 2
    return {upper: above - push, lower: below + push}
