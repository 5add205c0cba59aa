"""The training curve as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.student.epochs import EpochReport


def draw_curve(reports: Sequence[EpochReport], path: Path) -> None:
    """Draw losses and top-1 by epoch into a PNG."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state

    epochs = [report.epoch for report in reports]
    figure = Figure(figsize=(9, 3.2), dpi=120)
    left, right = figure.subplots(1, 2)
    # What matplotlib would find out by drawing all of it twice.
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.16, top=0.9, wspace=0.16)
    left.plot(epochs, [report.train_loss for report in reports], label="train", color="#2f6f9f")
    left.plot(epochs, [report.valid_loss for report in reports], label="valid", color="#d07a2d")
    left.set(title="Cross-entropy", xlabel="epoch", ylim=(0, None))
    left.legend(frameon=False)
    right.plot(epochs, [100 * report.valid_top1 for report in reports], color="#d07a2d")
    right.set(title="Top-1 on valid, against its labels (%)", xlabel="epoch", ylim=(0, 101))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(path)
