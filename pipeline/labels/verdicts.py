"""What is known of every image of a batch when its label is decided."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from pipeline.labels.refine.batch import Notice

_BLOCK = 20_000  # rows at a time


@dataclass(frozen=True)
class Verdicts:
    """A row for each of n images."""

    classes: tuple[str, ...]
    plain: np.ndarray  # (n, classes) float32, the probabilities that the words give
    probabilities: np.ndarray  # (n, classes) float32, what came of them
    known: np.ndarray  # (n,) int, index of the class that a person gave; -1: nobody has
    unlike: np.ndarray  # (n,) float32, how little the image fits any class, 0 to 1
    doubt: np.ndarray  # (n,) float32, 0 to 1; the larger, the likelier the label is wrong
    kept: np.ndarray  # (n,) bool: yesterday's label stands
    min_confidence: float
    min_margin: float
    limit: float | None = (
        None  # of `unlike`, from which an image fits no class; None: there is none
    )
    refined: bool = False  # whether the batch had a say
    why: str = ""  # a sentence: what refinement did, on what evidence
    weights: dict[str, float] = field(default_factory=dict)  # space → its share in the evidence
    notices: tuple[Notice, ...] = ()
    sampled: int = 0  # images that this was learned from, of more; 0: all

    @cached_property
    def guess(self) -> np.ndarray:
        """Index of the most probable class, (n,)."""
        return self.probabilities.argmax(axis=1)  # type: ignore[no-any-return]

    @cached_property
    def accepted(self) -> np.ndarray:
        """Whether the guess is sure enough to be a label, (n,) bool. What people decided, and what
        is kept, is another matter."""
        found = np.zeros(len(self.probabilities), bool)
        for start in range(0, len(found), _BLOCK):
            part = slice(start, start + _BLOCK)
            second, first = np.partition(self.probabilities[part], -2, axis=1)[:, -2:].T
            sure = first.astype(np.float64) >= self.min_confidence
            found[part] = sure & ((first - second).astype(np.float64) >= self.min_margin)
        found &= ~self.strange
        return found

    @property
    def strange(self) -> np.ndarray:
        """Whether the image counts as one that fits no class, (n,) bool."""
        if self.limit is None:
            return np.zeros(len(self.unlike), bool)
        return self.unlike.astype(np.float64) >= self.limit

    @property
    def rejected(self) -> int:
        """How many images abstain because they fit no class."""
        return int((self.strange & (self.known < 0) & ~self.kept).sum())

    def part(self, start: int, stop: int) -> Verdicts:
        """Return the verdicts on some of the images, one after another."""
        rows = slice(start, stop)
        return replace(
            self,
            plain=self.plain[rows],
            probabilities=self.probabilities[rows],
            known=self.known[rows],
            unlike=self.unlike[rows],
            doubt=self.doubt[rows],
            kept=self.kept[rows],
        )

    def with_rows(self, rows: np.ndarray, probabilities: np.ndarray) -> Verdicts:
        """Return the same with other probabilities (m, classes) in the rows (m,)."""
        shares = np.array(self.probabilities, np.float32)
        shares[rows] = probabilities
        return replace(self, probabilities=shares)
