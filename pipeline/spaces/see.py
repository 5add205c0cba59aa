"""A run's space, shown the run's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import LabelConfig, SpaceConfig, StudentConfig
from pipeline.files import names_and_hashes
from pipeline.listener import SILENT, Listener
from pipeline.pixels import MAX_PIXELS
from pipeline.spaces import check_space, load_space, space_to_fetch
from pipeline.teachers.base import Sight
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines import engine_for
from pipeline.teachers.engines.base import Loader
from pipeline.teachers.panel import cache_of


@dataclass(frozen=True)
class Onlooker:
    """A space that is loaded, and how it is run: see `Viewer`."""

    sight: Sight
    settings: SpaceConfig

    @property
    def loader(self) -> Loader:
        """What loads it in another process."""
        return load_space


@dataclass(frozen=True)
class Seen:
    """Images that a space has seen: their vectors are in its cache."""

    name: str  # for people
    fingerprint: str
    cache: EmbeddingCache
    dim: int
    computed: int  # images that it had to look at
    failures: dict[str, str]  # id → a sentence

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """Return the unit vectors (n, dim) float32 of images.

        Raises:
            KeyError: one of them could not be read.
        """
        return self.cache.vectors(ids).reshape(len(ids), self.dim)


def see(
    space: SpaceConfig,
    student: StudentConfig,
    images: pl.DataFrame,
    max_pixels: int = MAX_PIXELS,
    listener: Listener = SILENT,
    cache_root: Path | None = None,
    label: LabelConfig | None = None,
) -> Seen:
    """Show images to a space; what its cache holds is not computed again.

    Args:
        space: `label.space` of the config.
        student: `student` of the config.
        images: columns id and path.
        max_pixels: larger images are refused before they are decoded.
        listener: told what is waited for, and what is doubtful about the weights.
        cache_root: where vectors are kept; by default the cache of all runs.
        label: names the engine; by default this machine's.

    Raises:
        ConfigError: the settings are wrong, see `check_space`.
        TeacherError: the space cannot be loaded, or fails; what it has seen is in the cache.
        StudentError: a student's weights cannot be loaded.
    """
    settings = check_space(space, student)
    if (repository := space_to_fetch(settings)) is not None:
        listener.say(f"Fetching {repository} from the Hugging Face hub.")
    sight = load_space(settings)
    for sentence in sight.doubts:
        listener.warn(sentence)
    cache = cache_of(sight, cache_root)
    embed = engine_for(settings, len(images), label)
    with listener.bar(sight.name, "images") as progress:
        done = embed(Onlooker(sight, settings), images, cache, max_pixels, progress)
    return Seen(sight.name, sight.fingerprint, cache, sight.dim, done.computed, done.failures)


def identity_of(space: SpaceConfig, student: StudentConfig) -> list[Any]:
    """Return what a space's vectors depend on, for the digest of a stage: names and the files that
    they lead to. Devices, batches and places do not count.

    Raises:
        ConfigError: see `check_space`.
    """
    settings = check_space(space, student)
    place = Path(settings.model.removeprefix("local-dir:"))
    if place.is_dir():
        files = [path for path in sorted(place.glob("*")) if path.is_file()]
    else:
        files = [path for path in (place, Path(settings.pretrained or "")) if path.is_absolute()]
    named = settings.model_dump(include={"kind", "pretrained", "precision", "size"})
    stated = settings.model_dump(include={"preprocess", "quick_gelu"}, exclude_defaults=True)
    model = place.name if place.is_absolute() else settings.model
    return [named | stated | {"model": model}, names_and_hashes(files)]
