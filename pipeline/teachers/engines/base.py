"""What an engine is: a way to show a teacher many images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from pipeline.config import TeacherConfig
from pipeline.listener import Progress
from pipeline.teachers.base import Sight
from pipeline.teachers.cache import EmbeddingCache

Images = Sequence[tuple[str, str]] | pl.DataFrame  # (id, path) pairs, or a table with these columns

_LOOKED_UP = 50_000  # images looked up together


@dataclass
class Embedded:
    """What became of images."""

    computed: int  # how many the teacher had to look at
    failures: dict[str, str] = field(default_factory=dict)  # id → a sentence


Loader = Callable[[TeacherConfig], Sight]  # can be pickled: another process loads by it


class Viewer(Protocol):
    """Who looks at images: loaded here, and what another process loads it by."""

    @property
    def sight(self) -> Sight:
        """What sees them."""
        ...

    @property
    def settings(self) -> TeacherConfig:
        """How it is run."""
        ...

    @property
    def loader(self) -> Loader:
        """What loads it again, by these settings but for the device."""
        ...


class Engine(Protocol):
    """Sees to it that the cache has the vector of every readable image."""

    def __call__(
        self,
        viewer: Viewer,
        images: Images,
        cache: EmbeddingCache,
        max_pixels: int,
        progress: Progress,
    ) -> Embedded:
        """Have somebody look at the images whose vectors the cache lacks.

        Args:
            viewer: a teacher, or a space that sees without words.
            cache: the viewer's; vectors arrive there as they are computed, so that whatever
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
