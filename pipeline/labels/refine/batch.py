"""What refinement is handed and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Space:
    """An embedding space: the teacher's own, or a purely visual one."""

    name: str  # for people
    vectors: np.ndarray  # (n, dim) unit vectors, a row for each image of the batch; may be a memmap


@dataclass(frozen=True)
class Batch:
    """All images of a run at once. Human decisions and examples are rows whose class is known."""

    classes: tuple[str, ...]
    plain: np.ndarray  # (n, classes) float32, the probabilities that the words give, each row alone
    spaces: tuple[Space, ...]  # at least one; the first is the teacher's own
    known: np.ndarray  # (n,) int, index of the class a person gave the image; -1: nobody has
    votes: np.ndarray  # (n,) float32, above 0: look-alikes and frames of one film share one vote
    prior: np.ndarray | None = None  # (classes,) shares that the config declares; None: unknown
    # (n, classes) float32: the same as `plain` by the words alone, where examples speak in it, too.
    # Refinement knows the examples better than an image alone can.
    words: np.ndarray | None = None
    # Rows that everything is learned from, in an order that their content gives; None: all of them.
    sample: np.ndarray | None = None
    drawn_from: int | None = None  # images that this batch stands for; None: for itself

    @property
    def spoken(self) -> np.ndarray:
        """What refinement begins with, (n, classes) float32."""
        return self.plain if self.words is None else self.words

    def part(self, rows: np.ndarray) -> Batch:
        """Return some rows as a batch of their own."""
        return replace(
            self,
            plain=self.plain[rows],
            words=None if self.words is None else self.words[rows],
            spaces=tuple(replace(one, vectors=one.vectors[rows]) for one in self.spaces),
            known=self.known[rows],
            votes=self.votes[rows],
            sample=None,
            drawn_from=len(self.plain),
        )

    def in_words(self, images: int, rows: int) -> str:
        """Say how many images of the batch, or of those that it was drawn from, some images are.

        Args:
            images: so many.
            rows: of so many that were looked at.
        """
        total = self.drawn_from or len(self.plain)
        if rows == total:
            return f"{images:,}"
        return f"about {round(int(images * total / rows), -1):,}"


@dataclass(frozen=True)
class Notice:
    """Images alike that the words do not fit: what a person should look at."""

    kind: str  # "far": called a class but far from it; "two": a second kind of thing under a class;
    # "none": they fit no class
    class_name: str | None  # what they are called
    rows: np.ndarray  # (m,) int, of the batch, the most typical first
    sentence: str  # what it is and what to do, for people; without the pictures


@dataclass(frozen=True)
class Refined:
    """What came out."""

    probabilities: np.ndarray  # (n, classes) float32
    refined: bool  # False: the plain probabilities, unchanged
    why: str  # a sentence for people: what was decided, on what evidence
    changed_classes: tuple[str, ...] = ()  # whose images may have moved; () where nothing was done
    weights: dict[str, float] = field(default_factory=dict)  # space → its share in the evidence
    notices: tuple[Notice, ...] = ()
    # By how many spreads of the answers prompts lead at their own images; None where nothing was
    # read together.
    lead: float | None = None
    # What was learned, put to further images: a batch → probabilities (m, classes) float32. None:
    # they stay as the words have them.
    further: Callable[[Batch], np.ndarray] | None = None
