"""Asking the config's teacher, or all of its teachers, about images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline.config import TeacherConfig
from pipeline.errors import SourceError
from pipeline.files import cache_dir
from pipeline.listener import Listener
from pipeline.ontology import Ontology

if TYPE_CHECKING:
    from pipeline.teachers.base import Teacher
    from pipeline.teachers.cache import EmbeddingCache
    from pipeline.teachers.zero_shot import Panel


@dataclass(frozen=True)
class Answers:
    """What the teachers say about some images, a row for each."""

    alone: list[np.ndarray]  # probabilities (n, classes) of each member
    together: np.ndarray  # (n, classes) float32
    by_prompt: np.ndarray  # (n, prompts), of the members together


@dataclass(frozen=True)
class Asked:
    """Images that the teachers have seen: their vectors are in the caches."""

    panel: Panel
    caches: list[EmbeddingCache]
    ids: pl.Series  # of the images that could be read, in the order given
    computed: int  # images that at least one teacher had to look at
    from_cache: int
    failures: dict[str, str]  # id → a sentence

    def vectors(self, ids: Sequence[str]) -> np.ndarray | None:
        """Return the vectors (n, dim) of images, of the first teacher that gives any."""
        for member, cache in zip(self.panel.members, self.caches, strict=True):
            if member.teacher.gives_vectors:
                return cache.vectors(ids)
        return None

    def answers(self, start: int = 0, stop: int | None = None) -> Answers:
        """Return the answers for `ids[start:stop]`."""
        ids = self.ids[start:stop].to_list()
        members = self.panel.members
        seen = [
            cache.vectors(ids).reshape(len(ids), member.teacher.dim)
            for member, cache in zip(members, self.caches, strict=True)
        ]
        alone = [member.classify(rows) for member, rows in zip(members, seen, strict=True)]
        by_prompt = [member.by_prompt(rows) for member, rows in zip(members, seen, strict=True)]
        return Answers(alone, self.panel.mean(alone), self.panel.mean(by_prompt))


def in_words(teachers: Sequence[TeacherConfig]) -> str:
    """Name teachers for a sentence."""
    names = [f"{one.kind} {one.model}" for one in teachers]
    return f"the teacher{'s' if len(names) > 1 else ''} {' and '.join(names)}"


def load_panel(
    teachers: Sequence[TeacherConfig], ontology: Ontology, classes: Sequence[str]
) -> Panel:
    """Load the config's teachers and put the ontology to them.

    Raises:
        TeacherError: one of them cannot be loaded.
        ConfigError: a prompt is longer than one of them reads.
    """
    from pipeline.teachers import load_teacher
    from pipeline.teachers.zero_shot import Panel, ZeroShot, embed_prompts

    members = []
    for settings in teachers:
        teacher = load_teacher(settings, ontology.sentences)
        prompts = embed_prompts(teacher, ontology)
        members.append(ZeroShot(teacher, ontology, prompts, classes))
    return Panel(members, [settings.weight for settings in teachers], list(teachers))


def prompt_warnings(teacher: Teacher, ontology: Ontology) -> list[str]:
    """Return what a person should know about how the teacher reads the prompts."""
    from pipeline.teachers.zero_shot import unknown_word_warnings

    return unknown_word_warnings(teacher, ontology)


def ask(panel: Panel, images: pl.DataFrame, max_pixels: int, listener: Listener) -> Asked:
    """Show images, a table with columns id and path, to every member, each with its own cache."""
    from pipeline.teachers.engines.devices import devices_of, embed_on_devices, is_worthwhile
    from pipeline.teachers.engines.threads import embed

    caches, computed = [], 0
    failures: dict[str, str] = {}
    for member, settings in zip(panel.members, panel.settings, strict=True):
        title = "Embedding" if len(panel.members) == 1 else member.name
        cache = cache_of(member.teacher)
        wanted = images.filter(~pl.col("id").is_in(list(failures)))
        devices = devices_of(settings.device)
        with listener.bar(title, "images") as progress:
            if is_worthwhile(devices, len(wanted)):
                embedded = embed_on_devices(
                    settings,
                    member.sentences,
                    devices,
                    wanted,
                    cache,
                    max_pixels=max_pixels,
                    progress=progress,
                )
            else:
                embedded = embed(
                    member.teacher,
                    wanted,
                    cache,
                    batch=settings.batch,
                    max_pixels=max_pixels,
                    compiling=settings.compile,
                    progress=progress,
                )
        caches.append(cache)
        failures |= embedded.failures
        computed = max(computed, embedded.computed)
    ids = images.filter(~pl.col("id").is_in(list(failures)))["id"]
    return Asked(panel, caches, ids, computed, len(ids) - computed, failures)


def cache_of(teacher: Teacher) -> EmbeddingCache:
    """Return the teacher's part of the embedding cache."""
    from pipeline.teachers.cache import EmbeddingCache

    return EmbeddingCache(cache_dir() / "embeddings", teacher.fingerprint, teacher.name)


def cached_vectors(
    fingerprint: str,
    images: pl.DataFrame,
    teachers: Sequence[TeacherConfig],
    ontology: Ontology,
    max_pixels: int,
) -> EmbeddingCache:
    """Return a cache that holds the vectors of images which were labeled before. A teacher is
    loaded only where the cache has lost some.

    Args:
        fingerprint: of the teacher that gave the vectors.
        images: columns id and path.
        teachers: of the config; the first that gives vectors computes what is lost.

    Raises:
        SourceError: images have changed since they were labeled.
        TeacherError: the teacher cannot be loaded.
    """
    from pipeline.teachers.cache import EmbeddingCache
    from pipeline.teachers.engines.threads import embed, missing_of

    cache = EmbeddingCache(cache_dir() / "embeddings", fingerprint)
    if not missing_of(images, cache):
        return cache
    panel = load_panel(teachers, ontology, ontology.classes)
    asked = list(zip((m.teacher for m in panel.members), teachers, strict=True))
    giving = [pair for pair in asked if pair[0].gives_vectors]
    # Another machine may compute with another precision: its vectors are as good for this.
    teacher, settings = next((p for p in giving if p[0].fingerprint == fingerprint), giving[0])
    cache = cache_of(teacher)
    embedded = embed(teacher, images, cache, batch=settings.batch, max_pixels=max_pixels)
    if embedded.failures:
        raise SourceError(
            f"{len(embedded.failures)} images changed or vanished after they were labeled. "
            "Run `clip2yolo label` again."
        )
    return cache
