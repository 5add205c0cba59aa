"""The teachers of a run, asked about images as one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from pipeline.config import Config, LabelConfig, TeacherConfig
from pipeline.errors import ConfigError, SourceError
from pipeline.files import cache_dir
from pipeline.images.examples import read_examples
from pipeline.listener import SILENT, Listener, no_progress
from pipeline.ontology import Ontology
from pipeline.pixels import MAX_PIXELS
from pipeline.records import EXAMPLES, Predictor
from pipeline.teachers import load_teacher, to_fetch
from pipeline.teachers.base import Sight, Teacher
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines import engine_for
from pipeline.teachers.engines.base import Loader, missing_of
from pipeline.teachers.prototypes import fit_prototypes
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
    by_prompt: np.ndarray  # (n, answers), of the members together: see `Ontology.answers`


class Panel(Predictor):
    """Several zero-shot classifiers that answer as one: the weighted mean of their probabilities.

    Args:
        members: at least one, all with the same classes.
        examples: the images that the members have been shown, with the schema `records.EXAMPLES`;
            their vectors are in the members' caches.
    """

    def __init__(self, members: Sequence[Member], examples: pl.DataFrame | None = None) -> None:
        asked = [member.zero_shot for member in members]
        weights = [member.settings.weight for member in members]
        self.members = tuple(members)
        self.examples = pl.DataFrame(schema=EXAMPLES) if examples is None else examples
        self.weights = tuple(weight / sum(weights) for weight in weights)
        self.name = " + ".join(one.name for one in asked)
        self.classes = asked[0].classes
        self.parameters = sum(one.parameters for one in asked)
        sizes = [one.file_bytes for one in asked]
        self.file_bytes = None if None in sizes else sum(size or 0 for size in sizes)
        self.device = ", ".join(dict.fromkeys(one.device for one in asked))
        self.streams = min(one.streams for one in asked)

    def without_examples(self) -> Panel:
        """Return the same teachers going by the words alone; every class must have some."""
        return Panel(
            [replace(one, zero_shot=one.zero_shot.without_examples()) for one in self.members]
        )

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
            vectors = cache.vectors(ids).reshape(len(ids), member.zero_shot.prompts.shape[1])
            by_prompt.append(member.zero_shot.by_prompt(vectors))
            alone.append(member.zero_shot.by_class(by_prompt[-1]))
        return Answers(alone, self.panel.mean(alone), self.panel.mean(by_prompt))


def load_panel(
    teachers: Sequence[TeacherConfig],
    ontology: Ontology,
    classes: Sequence[str],
    listener: Listener = SILENT,
    examples: pl.DataFrame | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Panel:
    """Load teachers and put the ontology to them: its words, and the examples of its classes.

    Args:
        teachers: the settings of each, at least one.
        classes: of the ontology, those to choose between, in this order.
        listener: told what is waited for, and of examples that cannot be used.
        examples: of `pipeline.images.examples.read_examples`; needed where the ontology has some.
        max_pixels: larger examples cannot be used.

    Raises:
        TeacherError: one of them cannot be loaded.
        ConfigError: a prompt is longer than one of them reads, or one of them cannot learn from
            examples.
        SourceError: no example of a class can be decoded.
    """
    if ontology.examples and (examples is None or examples.is_empty()):
        raise ValueError("the ontology has examples, and none were given")
    members = _members(teachers, ontology, classes, listener)
    if examples is None or not ontology.examples:
        return Panel(members)
    for member in members:
        if not member.teacher.gives_vectors:
            raise ConfigError(
                f"{member.name} gives answers and no vectors, so it cannot learn from `examples`. "
                "Remove them, or choose another teacher."
            )
    asked = ask(Panel(members), examples, max_pixels, listener, "Examples")
    seen = _seen(examples, asked.failures, listener)
    shown = []
    for member, cache in zip(members, asked.caches, strict=True):
        zero_shot = member.zero_shot
        prototypes = fit_prototypes(
            cache.vectors(seen["id"].to_list()),
            np.array([ontology.classes.index(name) for name in seen["class"]]),
            zero_shot.prompts,
            ontology,
            member.teacher.logit_scale,
        )
        told = ZeroShot(member.teacher, ontology, zero_shot.prompts, classes, prototypes)
        shown.append(replace(member, zero_shot=told))
    return Panel(shown, seen)


def panel_of(
    config: Config, ontology: Ontology, classes: Sequence[str], listener: Listener = SILENT
) -> Panel:
    """Load the teachers of a config and show them its examples (see `load_panel`).

    Raises:
        TeacherError, ConfigError, SourceError: as `load_panel` and `read_examples`.
    """
    examples = read_examples(config)
    for sentence in examples.notes:
        listener.warn(sentence)
    return load_panel(
        config.teachers, ontology, classes, listener, examples.table, config.max_pixels
    )


def _members(
    teachers: Sequence[TeacherConfig],
    ontology: Ontology,
    classes: Sequence[str],
    listener: Listener = SILENT,
) -> list[Member]:
    """Load teachers that know the ontology's words and nothing of its examples."""
    members = []
    for settings in teachers:
        if (repository := to_fetch(settings)) is not None:
            listener.say(f"Fetching {repository} from the Hugging Face hub.")
        teacher = load_teacher(settings, ontology.sentences)
        prompts = embed_prompts(teacher, ontology)
        members.append(Member(ZeroShot(teacher, ontology, prompts, classes), settings))
    return members


def _seen(examples: pl.DataFrame, failures: Mapping[str, str], listener: Listener) -> pl.DataFrame:
    """The examples that could be decoded; the others are told.

    Raises:
        SourceError: none of a class could.
    """
    failed = examples.filter(pl.col("id").is_in(list(failures)))
    seen = examples.filter(~pl.col("id").is_in(list(failures)))
    for image_id, path, class_name in failed.select("id", "path", "class").rows():
        if class_name not in seen["class"]:
            raise SourceError(
                f"No example of {class_name!r} can be read. {path}: {failures[image_id]}"
            )
        listener.warn(f"{path} is no example. {failures[image_id]}")
    return seen


def in_words(teachers: Sequence[TeacherConfig]) -> str:
    """Name teachers for a sentence."""
    names = [f"{one.kind} {one.model}" for one in teachers]
    return f"the teacher{'s' if len(names) > 1 else ''} {' and '.join(names)}"


def ask(
    panel: Panel,
    images: pl.DataFrame,
    max_pixels: int,
    listener: Listener,
    title: str = "Embedding",
    label: LabelConfig | None = None,
) -> Asked:
    """Show images, a table with columns id and path, to every member, each with its own cache.

    Args:
        label: names the engine; by default this machine's.

    Raises:
        TeacherError: a teacher fails; what it has seen by then is in the cache.
    """
    caches, computed = [], 0
    failures: dict[str, str] = {}
    for member in panel.members:
        alone = len(panel.members) == 1
        wanted = images.filter(~pl.col("id").is_in(list(failures)))
        embed = engine_for(member.settings, len(wanted), label)
        caches.append(cache_of(member.teacher))
        with listener.bar(title if alone else member.name, "images") as progress:
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


def cache_of(sight: Sight, root: Path | None = None) -> EmbeddingCache:
    """Return a teacher's, or a space's, part of the embedding cache; by default of all runs'."""
    return EmbeddingCache(root or cache_dir() / "embeddings", sight.fingerprint, sight.name)


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
    members = _members(teachers, ontology, ontology.classes)
    giving = [member for member in members if member.teacher.gives_vectors]
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
