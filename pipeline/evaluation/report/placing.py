"""Where labels stand in a chart so that none covers another, a mark, or the frame."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_ROUNDS = 4  # each label looks again for a better place, with the others where they are by then
_TURNS = tuple(math.radians(15 * step) for step in range(24))
_AWAY = (3.0, 12.0, 24.0, 38.0, 54.0, 72.0, 92.0, 116.0, 142.0, 170.0)  # from the mark's edge
_LEADS = 9.0  # a label further away than this is led to by a line
# What it costs to cover, a unit of area: another label, a mark, a bar of an interval.
_LABEL, _MARK, _BAR = 100.0, 40.0, 6.0
_CROSSED = 60.0  # a mark or a label that the line to a label runs through
_OUTSIDE = 1e6


@dataclass(frozen=True)
class Box:
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other: Box) -> float:
        """Return the area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        tall = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(wide, 0.0) * max(tall, 0.0)

    def holds(self, other: Box) -> bool:
        """Say whether the other lies within this one."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom

    def meets(self, line: tuple[float, float, float, float]) -> bool:
        """Say whether a line (x1, y1, x2, y2) runs through it, at a step of a twelfth."""
        x1, y1, x2, y2 = line
        return any(
            self.left < x1 + (x2 - x1) * at / 12 < self.right
            and self.top < y1 + (y2 - y1) * at / 12 < self.bottom
            for at in range(1, 12)
        )


@dataclass(frozen=True)
class Mark:
    """A mark with a label, and the bar of its interval."""

    x: float
    y: float
    radius: float
    text: str
    bar: Box

    @property
    def box(self) -> Box:
        """What the mark covers."""
        r = self.radius
        return Box(self.x - r, self.y - r, self.x + r, self.y + r)


@dataclass(frozen=True)
class Label:
    """Where a label stands: (x, y) is the middle of its text."""

    x: float
    y: float
    box: Box
    line: tuple[float, float, float, float] | None  # from mark to label, where they are apart


def width_of(text: str, size: float) -> float:
    """Return how wide a text is in a sans serif of this size: no font is at hand to ask, so rather
    too much."""
    wide = sum(1.05 if unicodedata.east_asian_width(sign) in "WF" else 0.63 for sign in text)
    return wide * size


def place_labels(
    marks: Sequence[Mark], frame: Box, size: float, taken: Sequence[Box] = ()
) -> list[Label]:
    """Find a place for the label of each mark.

    Each takes the cheapest of the places around its mark, in order and then again, until nobody
    moves: a greedy descent, as in Christensen, Marks and Shieber, "An empirical study of algorithms
    for point-feature label placement" (1995).

    Args:
        marks: whose labels are wanted.
        frame: that no label may leave.
        size: of the text, in the unit of the marks.
        taken: where other text stands.
    """
    places = [_around(mark, frame, size) for mark in marks]
    chosen: list[Label] = [around[0][1] for around in places]
    for turn in range(_ROUNDS):
        before = list(chosen)
        for at, around in enumerate(places):
            others = chosen[:at] if turn == 0 else chosen[:at] + chosen[at + 1 :]
            chosen[at] = min(
                around, key=lambda place: place[0] + _cost(place[1], at, marks, others, taken)
            )[1]
        if turn and chosen == before:
            break
    return chosen


def _around(mark: Mark, frame: Box, size: float) -> list[tuple[float, Label]]:
    """The places around a mark, each with what it costs in itself."""
    wide, tall = width_of(mark.text, size), size * 1.25
    found = []
    for away in _AWAY:
        for turn in _TURNS:
            label = _at(mark, math.cos(turn), -math.sin(turn), away, wide, tall)
            # To the right is where a reader looks first; then above, and to the left.
            cost = away + 4 * (1 - math.cos(turn)) + (2 if math.sin(turn) < 0 else 0)
            found.append((cost + (0 if frame.holds(label.box) else _OUTSIDE), label))
    return found


def _at(mark: Mark, right: float, down: float, away: float, wide: float, tall: float) -> Label:
    """The label whose nearest edge is `away` from the mark's in that direction."""
    reach = mark.radius + away
    x = mark.x + right * reach + (wide / 2) * max(-1.0, min(1.0, right * 1.6))
    y = mark.y + down * reach + (tall / 2) * max(-1.0, min(1.0, down * 1.6))
    box = Box(x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2)
    if away < _LEADS:
        return Label(x, y, box, None)
    near_x = max(box.left, min(mark.x, box.right))
    near_y = max(box.top + 2, min(mark.y, box.bottom - 2))
    long = math.hypot(near_x - mark.x, near_y - mark.y) or 1.0
    start = (mark.radius + 1) / long
    return Label(
        x, y, box,
        (mark.x + (near_x - mark.x) * start, mark.y + (near_y - mark.y) * start, near_x, near_y),
    )  # fmt: skip


def _cost(
    label: Label, own: int, marks: Sequence[Mark], others: Sequence[Label], taken: Sequence[Box]
) -> float:
    cost = sum(label.box.covers(other.box) for other in others) * _LABEL
    cost += sum(label.box.covers(box) for box in taken) * _LABEL
    for at, mark in enumerate(marks):
        cost += label.box.covers(mark.box) * _MARK + label.box.covers(mark.bar) * _BAR
        if label.line and at != own and mark.box.meets(label.line):
            cost += _CROSSED
    for other in others:
        if (label.line and other.box.meets(label.line)) or (
            other.line and label.box.meets(other.line)
        ):
            cost += _CROSSED
    return cost
