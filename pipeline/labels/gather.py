"""All images of a run at once, with what is known of each: what refinement is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from pipeline.config import LabelConfig
from pipeline.errors import ConfigError
from pipeline.files import stacked
from pipeline.labels.judge import each_alone, judge
from pipeline.labels.refine.batch import Batch, Space
from pipeline.labels.steady import Earlier
from pipeline.labels.verdicts import Verdicts
from pipeline.labels.votes import votes
from pipeline.run.stage import Run
from pipeline.spaces.see import Seen, see
from pipeline.teachers.panel import Asked, Panel

_BLOCK = 20_000  # images at a time

Vectors = Callable[[Sequence[str]], np.ndarray]  # ids → unit vectors (n, dim)


def refuse_impossible(panel: Panel, settings: LabelConfig) -> None:
    """Refuse what needs vectors where no teacher gives any.

    Raises:
        ConfigError: says which setting, and what to set.
    """
    if _gives_vectors(panel):
        return
    for key, wanted in (
        ("refine", settings.refine == "always"),
        ("reject", settings.reject != "none"),
    ):
        if wanted:
            raise ConfigError(
                f"`label.{key}: {getattr(settings, key)}` compares images by their vectors, and "
                f"{panel.name} gives none. Set `label.{key}: none`, or name another teacher."
            )


def verdicts_on(
    run: Run,
    asked: Asked,
    seen: Seen | None,
    images: pl.DataFrame,
    human: Mapping[str, str],
    earlier: Earlier | None,
    steady: Earlier | None,
) -> Verdicts:
    """Return what is known of each image that could be read.

    Args:
        run: whose settings and folder.
        asked: about the images.
        seen: by the second space.
        images: with the schema `records.IMAGES`, those of `asked.ids` in their order.
        human: image id → class, decided by a person.
        earlier: the last labeling.
        steady: the same, where its labels shall not flap.
    """
    settings, classes = run.config.label, run.ontology.classes
    plain = stacked(_plain(asked), len(asked.ids), run.workspace.root)
    numbers = {name: number for number, name in enumerate(classes)}
    decided = asked.ids.replace_strict(human, default=None, return_dtype=pl.String)
    known = _indices(decided, numbers)
    if not _looks_at_all(settings):
        why = "Each image is labeled alone, by the words: `label.refine` is `none`."
        return each_alone(plain, known, classes, settings, why)
    if not _gives_vectors(asked.panel):
        why = f"Each image is labeled alone, by the words: {asked.panel.name} gives no vectors."
        return each_alone(plain, known, classes, settings, why)
    spaces = tuple(
        Space(name, stacked(_blocks(vectors, asked.ids), len(asked.ids), run.workspace.root))
        for name, vectors in _spaces(asked, seen)
    )
    batch = Batch(
        classes=classes,
        plain=plain,
        spaces=spaces,
        known=known,
        worded=np.ones(len(classes), bool),
        votes=votes(spaces[0].vectors, images),
        before=None if earlier is None else _indices(earlier.of(asked.ids)["guess"], numbers),
    )
    return judge(batch, asked.ids, settings, steady)


def seen_by_space(run: Run, panel: Panel, images: pl.DataFrame, asked: Asked) -> Seen | None:
    """Show the images that the teachers could read to the config's space; None where there is none,
    or where nothing would come of it.

    Args:
        run: whose config.
        panel: the teachers.
        images: columns id and path.
        asked: the teachers, about these images.
    """
    config = run.config
    if config.label.space is None or not _looks_at_all(config.label) or not _gives_vectors(panel):
        return None
    readable = images.filter(pl.col("id").is_in(asked.ids.implode()))
    return see(config.label.space, config.student, readable, config.max_pixels, run.listener)


def _looks_at_all(settings: LabelConfig) -> bool:
    """Whether an image's label depends on the other images."""
    return settings.refine != "none" or settings.reject != "none"


def _gives_vectors(panel: Panel) -> bool:
    return any(member.teacher.gives_vectors for member in panel.members)


def _plain(asked: Asked) -> Iterator[np.ndarray]:
    for start in range(0, len(asked.ids), _BLOCK):
        yield asked.answers(start, start + _BLOCK).together


def _spaces(asked: Asked, seen: Seen | None) -> Iterator[tuple[str, Vectors]]:
    """The name of each space, and what gives its vectors. A space that is a teacher's own tower is
    that teacher's, once."""
    known = set()
    for member, cache in zip(asked.panel.members, asked.caches, strict=True):
        if member.teacher.gives_vectors and member.teacher.fingerprint not in known:
            known.add(member.teacher.fingerprint)
            yield member.name, cache.vectors
    if seen is not None and seen.fingerprint not in known:
        yield seen.name, seen.vectors


def _blocks(vectors: Vectors, ids: pl.Series) -> Iterator[np.ndarray]:
    for start in range(0, len(ids), _BLOCK):
        yield vectors(ids[start : start + _BLOCK].to_list())


def _indices(names: pl.Series, numbers: Mapping[str, int]) -> np.ndarray:
    """Class indices of names, (n,) int64; -1 for null, and for a class that is no more."""
    found: np.ndarray = names.replace_strict(numbers, default=-1, return_dtype=pl.Int64).to_numpy()
    return found
