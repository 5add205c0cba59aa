"""The teachers of a run, asked about images as one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl
from PIL import Image

from pipeline.config import TeacherConfig
from pipeline.errors import SourceError
from pipeline.files import cache_dir
from pipeline.listener import SILENT, Listener, no_progress
from pipeline.ontology import Ontology
from pipeline.records import Predictor
from pipeline.teachers import load_teacher, to_fetch
from pipeline.teachers.base import Sight, Teacher
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines import engine_for
from pipeline.teachers.engines.base import Loader, missing_of
from pipeline.teachers.zero_shot import ZeroShot, embed_prompts, unknown_word_warnings


@dataclass(frozen=True)
class Member:
    """One teacher of a panel, what it answers with, and how it is run."""

    zero_shot: ZeroShot
    settings: TeacherConfig

    @property
    def name(self) -> str:
        """The teacher's."""
        return self.zero_shot.name

    @property
    def teacher(self) -> Teacher:
        """Who is asked."""
        return self.zero_shot.teacher

    @property
    def sight(self) -> Sight:
        """The teacher, for the engines."""
        return self.teacher

    @property
    def loader(self) -> Loader:
        """What loads the teacher in another process."""
        return partial(load_teacher, sentences=self.zero_shot.sentences)


@dataclass(frozen=True)
class Answers:
    """What the teachers say about some images, a row for each."""

    alone: list[np.ndarray]  # probabilities (n, classes) of each member
    together: np.ndarray  # (n, classes) float32
    by_prompt: np.ndarray  # (n, prompts), of the members together


class Panel(Predictor):
    """Several zero-shot classifiers that answer as one: the weighted mean of their probabilities.

    Args:
        members: at least one, all with the same classes.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        asked = [member.zero_shot for member in members]
        weights = [member.settings.weight for member in members]
        self.members = tuple(members)
        self.weights = tuple(weight / sum(weights) for weight in weights)
        self.name = " + ".join(one.name for one in asked)
        self.classes = asked[0].classes
        self.parameters = sum(one.parameters for one in asked)
        sizes = [one.file_bytes for one in asked]
        self.file_bytes = None if None in sizes else sum(size or 0 for size in sizes)
        self.device = ", ".join(dict.fromkeys(one.device for one in asked))

    def read(self, data: bytes, max_pixels: int) -> list[np.ndarray]:
        """Return what each member takes of the bytes of an image file."""
        return [member.teacher.read(data, max_pixels) for member in self.members]

    def prepare(self, image: Image.Image) -> list[np.ndarray]:
        """Return what each member takes of an RGB image in memory."""
        return [member.teacher.prepare(image) for member in self.members]

    def predict(self, batch: Sequence[list[np.ndarray]]) -> np.ndarray:
        """Return probabilities (n, classes) float32 of images that were read or prepared."""
        parts = zip(*batch, strict=True)
        return self.mean(
            [m.zero_shot.predict(part) for m, part in zip(self.members, parts, strict=True)]
        )

    def mean(self, answers: Sequence[np.ndarray]) -> np.ndarray:
        """Return the members' probabilities, (n, classes) each, as one."""
        together = np.zeros_like(answers[0])
        for weight, answer in zip(self.weights, answers, strict=True):
            together += np.float32(weight) * answer
        return together


@dataclass(frozen=True)
class Asked:
    """Images that the teachers have seen: their vectors are in the caches."""

    panel: Panel
    caches: list[EmbeddingCache]
    ids: pl.Series  # of the images that could be read, in the order given
    computed: int  # images that at least one teacher had to look at
    from_cache: int
    failures: dict[str, str]  # id → a sentence

    def without(self, ids: Collection[str]) -> Asked:
        """Return the same about all images but these."""
        return replace(self, ids=self.ids.filter(~self.ids.is_in(list(ids))))

    def only(self, ids: Sequence[str]) -> Asked:
        """Return the same about some of the images, in this order."""
        return replace(self, ids=pl.Series("id", ids, dtype=pl.String))

    def vectors(self, ids: Sequence[str]) -> np.ndarray | None:
        """Return the vectors (n, dim) of images, of the first teacher that gives any."""
        for member, cache in zip(self.panel.members, self.caches, strict=True):
            if member.teacher.gives_vectors:
                return cache.vectors(ids)
        return None

    def answers(self, start: int = 0, stop: int | None = None) -> Answers:
        """Return the answers for `ids[start:stop]`."""
        ids = self.ids[start:stop].to_list()
        alone, by_prompt = [], []
        for member, cache in zip(self.panel.members, self.caches, strict=True):
            vectors = cache.vectors(ids).reshape(len(ids), member.teacher.dim)
            by_prompt.append(member.zero_shot.by_prompt(vectors))
            alone.append(member.zero_shot.by_class(by_prompt[-1]))
        return Answers(alone, self.panel.mean(alone), self.panel.mean(by_prompt))


def load_panel(
    teachers: Sequence[TeacherConfig],
    ontology: Ontology,
    classes: Sequence[str],
    listener: Listener = SILENT,
) -> Panel:
    """Load teachers and put the ontology to them.

    Args:
        teachers: the settings of each, at least one.
        classes: of the ontology, those to choose between, in this order.
        listener: told what is waited for.

    Raises:
        TeacherError: one of them cannot be loaded.
        ConfigError: a prompt is longer than one of them reads.
    """
    members = []
    for settings in teachers:
        if (repository := to_fetch(settings)) is not None:
            listener.say(f"Fetching {repository} from the Hugging Face hub.")
        teacher = load_teacher(settings, ontology.sentences)
        prompts = embed_prompts(teacher, ontology)
        members.append(Member(ZeroShot(teacher, ontology, prompts, classes), settings))
    return Panel(members)


def in_words(teachers: Sequence[TeacherConfig]) -> str:
    """Name teachers for a sentence."""
    names = [f"{one.kind} {one.model}" for one in teachers]
    return f"the teacher{'s' if len(names) > 1 else ''} {' and '.join(names)}"


def ask(panel: Panel, images: pl.DataFrame, max_pixels: int, listener: Listener) -> Asked:
    """Show images, a table with columns id and path, to every member, each with its own cache.

    Raises:
        TeacherError: a teacher fails; what it has seen by then is in the cache.
    """
    caches, computed = [], 0
    failures: dict[str, str] = {}
    for member in panel.members:
        title = "Embedding" if len(panel.members) == 1 else member.name
        wanted = images.filter(~pl.col("id").is_in(list(failures)))
        embed = engine_for(member.settings, len(wanted))
        caches.append(cache_of(member.teacher))
        with listener.bar(title, "images") as progress:
            embedded = embed(member, wanted, caches[-1], max_pixels, progress)
        failures |= embedded.failures
        computed = max(computed, embedded.computed)
    ids = images.filter(~pl.col("id").is_in(list(failures)))["id"]
    return Asked(panel, caches, ids, computed, len(ids) - computed, failures)


def prompt_warnings(panel: Panel, ontology: Ontology) -> list[str]:
    """Return what a person should know about how the teachers take pictures and prompts."""
    return [
        sentence
        for member in panel.members
        for sentence in [*member.teacher.doubts, *unknown_word_warnings(member.teacher, ontology)]
    ]


def cache_of(sight: Sight) -> EmbeddingCache:
    """Return a teacher's, or a space's, part of the embedding cache."""
    return EmbeddingCache(cache_dir() / "embeddings", sight.fingerprint, sight.name)


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
    cache = EmbeddingCache(cache_dir() / "embeddings", fingerprint)
    if not missing_of(images, cache):
        return cache
    panel = load_panel(teachers, ontology, ontology.classes)
    giving = [member for member in panel.members if member.teacher.gives_vectors]
    # Another machine may compute with another precision: its vectors are as good for this.
    member = next((one for one in giving if one.teacher.fingerprint == fingerprint), giving[0])
    cache = cache_of(member.teacher)
    embed = engine_for(member.settings, len(images))
    embedded = embed(member, images, cache, max_pixels, no_progress)
    if embedded.failures:
        raise SourceError(
            f"{len(embedded.failures)} images changed or vanished after they were labeled. "
            "Run `clip2yolo label` again."
        )
    return cache
