"""What an engine is: a way to show a teacher many images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import polars as pl

from pipeline.listener import Progress
from pipeline.teachers.cache import EmbeddingCache

if TYPE_CHECKING:
    from pipeline.teachers.panel import Member

Images = Sequence[tuple[str, str]] | pl.DataFrame  # (id, path) pairs, or a table with these columns

_LOOKED_UP = 50_000  # images looked up together


@dataclass
class Embedded:
    """What became of images."""

    computed: int  # how many the teacher had to look at
    failures: dict[str, str] = field(default_factory=dict)  # id → a sentence


class Engine(Protocol):
    """Sees to it that the cache has the vector of every readable image."""

    def __call__(
        self,
        member: Member,
        images: Images,
        cache: EmbeddingCache,
        max_pixels: int,
        progress: Progress,
    ) -> Embedded:
        """Have the member's teacher look at the images whose vectors the cache lacks.

        Args:
            member: the teacher as it is loaded here, with the settings and sentences that another
                process loads it by.
            cache: the teacher's; vectors arrive there as they are computed, so that whatever
                interrupts costs little.
            max_pixels: larger images are refused before they are decoded.
            progress: told what is in the cache.

        Raises:
            TeacherError: the teacher fails.
        """
        ...


def missing_of(images: Images, cache: EmbeddingCache) -> dict[str, str]:
    """Return id → path of the images whose vectors the cache lacks."""
    missing: dict[str, str] = {}
    for start in range(0, max(len(images), 1), _LOOKED_UP):
        part = images[start : start + _LOOKED_UP]
        pairs = part.select("id", "path").rows() if isinstance(part, pl.DataFrame) else part
        there = cache.has([image_id for image_id, _ in pairs], fresh=start == 0)
        missing |= dict(pair for pair, known in zip(pairs, there, strict=True) if not known)
    return missing
