"""Asking the config's teacher, or all of its teachers, about images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline.config import Config
from pipeline.ontology import Ontology
from pipeline.paths import cache_dir
from pipeline.records import Listener

if TYPE_CHECKING:
    from pipeline.teachers.base import Teacher
    from pipeline.teachers.zero_shot import Panel


@dataclass(frozen=True)
class Asked:
    """What the teachers said about images; arrays have a row for each of `ids`."""

    ids: list[str]  # of the images that could be read, in the order given
    alone: list[np.ndarray]  # probabilities (n, classes) of each member
    together: np.ndarray  # (n, classes) float32
    by_prompt: np.ndarray  # (n, prompts), of the members together
    computed: int  # images that at least one teacher had to look at
    from_cache: int
    failures: dict[str, str]  # id → a sentence


def in_words(config: Config) -> str:
    """Name the config's teachers for a sentence."""
    names = [f"{one.kind} {one.model}" for one in config.teachers]
    return f"the teacher{'s' if len(names) > 1 else ''} {' and '.join(names)}"


def pairs_of(images: pl.DataFrame) -> list[tuple[str, Path]]:
    """Return (id, path) of every row."""
    return [(one, Path(path)) for one, path in images.select("id", "path").iter_rows()]


def load_panel(config: Config, ontology: Ontology, classes: Sequence[str]) -> Panel:
    """Load the config's teachers and put the ontology to them.

    Raises:
        TeacherError: one of them cannot be loaded.
        ConfigError: a prompt is longer than one of them reads.
    """
    from pipeline.teachers import load_teacher
    from pipeline.teachers.zero_shot import Panel, ZeroShot, embed_prompts

    members = []
    for settings in config.teachers:
        teacher = load_teacher(settings, ontology.sentences)
        prompts = embed_prompts(teacher, ontology)
        members.append(ZeroShot(teacher, ontology, prompts, classes))
    return Panel(members, [settings.weight for settings in config.teachers])


def prompt_warnings(teacher: Teacher, ontology: Ontology) -> list[str]:
    """Return what a person should know about how the teacher reads the prompts."""
    from pipeline.teachers.zero_shot import unknown_word_warnings

    return unknown_word_warnings(teacher, ontology)


def ask(
    panel: Panel, pairs: Sequence[tuple[str, Path]], config: Config, listener: Listener
) -> Asked:
    """Ask every member about the images, each through its own cache."""
    from pipeline.embed import EmbeddingCache, embed

    vectors, computed = [], 0
    failures: dict[str, str] = {}
    for member, settings in zip(panel.members, config.teachers, strict=True):
        title = "Embedding" if len(panel.members) == 1 else member.name
        with listener.bar(title, "images") as progress:
            embedded = embed(
                member.teacher,
                [pair for pair in pairs if pair[0] not in failures],
                EmbeddingCache(cache_dir() / "embeddings", member.teacher.fingerprint),
                batch=settings.batch,
                max_pixels=config.max_pixels,
                progress=progress,
            )
        vectors.append(embedded.vectors)
        failures |= embedded.failures
        computed = max(computed, embedded.computed)
    ids = [one for one, _ in pairs if one not in failures]
    seen = [
        np.array([found[one] for one in ids]).reshape(len(ids), member.teacher.dim)
        for member, found in zip(panel.members, vectors, strict=True)
    ]
    alone = [member.classify(rows) for member, rows in zip(panel.members, seen, strict=True)]
    by_prompt = [member.by_prompt(rows) for member, rows in zip(panel.members, seen, strict=True)]
    return Asked(
        ids=ids,
        alone=alone,
        together=panel.mean(alone),
        by_prompt=panel.mean(by_prompt),
        computed=computed,
        from_cache=len(ids) - computed,
        failures=failures,
    )
