"""Words that images may be likened to, where no prompt fits them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.teachers.base import Teacher
from pipeline.teachers.vocabulary import vocabulary


@dataclass(frozen=True)
class Words:
    """Names of things, as a teacher reads them."""

    names: tuple[str, ...]
    vectors: np.ndarray  # (words, dim) unit vectors, in the space of the teacher's images

    def nearest(self, toward: np.ndarray, count: int = 3) -> tuple[str, ...]:
        """Return the names nearest to images, given their mean (dim,) less that of all images.

        The words' own mean is taken off likewise: images and texts lie a constant apart (the gap
        of contrastive embeddings: Liang et al., 2022).
        """
        moved = self.vectors - self.vectors.mean(axis=0)
        moved = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-6)
        order = np.argsort(-(moved @ toward), kind="stable")[:count]
        return tuple(self.names[number] for number in order.tolist())


def words_of(teacher: Teacher) -> Words:
    """Return a thousand common words as a teacher reads them, which takes it some seconds."""
    return Words(*vocabulary(teacher))
