"""All images of a run at once, with what is known of each: what refinement is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.config import LabelConfig
from pipeline.errors import ConfigError
from pipeline.files import stacked
from pipeline.labels.judge import each_alone, judge
from pipeline.labels.refine.batch import Batch, Space
from pipeline.labels.sampling import read_sample, sampled_rows
from pipeline.labels.steady import Earlier
from pipeline.labels.verdicts import Verdicts
from pipeline.labels.votes import votes
from pipeline.labels.words import Words, words_of
from pipeline.ontology import Ontology, declared_prior
from pipeline.run.stage import Run
from pipeline.spaces.see import Seen, see
from pipeline.teachers.panel import Asked, Panel, ask

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
    seen: Sequence[Seen],
    images: pl.DataFrame,
    beside: pl.DataFrame,
    human: Mapping[str, str],
    earlier: Earlier | None,
) -> Verdicts:
    """Return what is known of each image that could be read.

    Args:
        run: whose settings and folder.
        asked: about the images.
        seen: by spaces beside the teachers'.
        images: with the schema `records.IMAGES`, those of `asked.ids` in their order.
        beside: the examples that are none of the images, with the schema `records.EXAMPLES`.
        human: image id → class, decided by a person.
        earlier: the last labeling, where its labels shall not flap.
    """
    settings, classes = run.config.label, run.ontology.classes
    if (alone := why_alone(asked.panel, settings)) is not None:
        plain = stacked(plain_of(asked), len(asked.ids), run.workspace.root)
        return each_alone(plain, _known(asked.ids, human, classes), classes, settings, alone)
    batch = batch_of(run, asked, seen, images, beside, human)
    return judge(batch, asked.ids, settings, earlier, _words(asked.panel))


def batch_of(
    run: Run,
    asked: Asked,
    seen: Sequence[Seen],
    images: pl.DataFrame,
    beside: pl.DataFrame,
    human: Mapping[str, str],
) -> Batch:
    """Return all images with what is known of them, and after them the examples beside; a teacher
    must give vectors. The arguments are those of `verdicts_on`."""
    ontology = run.ontology
    rows = asked.only([*asked.ids.to_list(), *beside["id"].to_list()])
    shown = beside.select("id", "class").drop_nulls()
    known = _known(rows.ids, {**human, **dict(shown.iter_rows())}, ontology.classes)
    plain = stacked(plain_of(rows), len(rows.ids), run.workspace.root)
    spaces = tuple(
        Space(name, stacked(blocks_of(vectors, rows.ids), len(rows.ids), run.workspace.root))
        for name, vectors in _spaces(rows, seen)
    )
    pictures = pl.concat([images, beside], how="diagonal").select("video", "seconds")
    sample = sampled_rows(run.config, rows.ids, len(asked.ids), known, read_sample(run.config))
    return Batch(
        classes=ontology.classes,
        plain=plain,
        words=_words_alone(rows, ontology, run.workspace.root),
        spaces=spaces,
        known=known,
        votes=_votes(spaces[0].vectors, pictures, sample),
        prior=declared_prior(run.config, ontology.classes),
        sample=sample,
    )


def _votes(vectors: np.ndarray, pictures: pl.DataFrame, sample: np.ndarray | None) -> np.ndarray:
    """The votes of what is learned from; the others have none to give."""
    if sample is None:
        return votes(vectors, pictures)
    found = np.ones(len(vectors), np.float32)
    found[sample] = votes(vectors[sample], pictures[sample])
    return found


def examples_among(examples: pl.DataFrame, images: pl.DataFrame) -> dict[str, str]:
    """Return image id → class of the examples that are images of the run, too."""
    found = examples.filter(pl.col("id").is_in(images["id"].drop_nulls().implode()))
    return dict(found.select("id", "class").iter_rows())


def beside_of(run: Run, panel: Panel, images: pl.DataFrame) -> pl.DataFrame:
    """Return what is looked at beside a run's images, with their vectors in the caches: the
    examples that are none of them and could be read, with the schema `records.EXAMPLES`, and
    the images of a given sample that are none of either, without a class."""
    elsewhere = ~pl.col("id").is_in(images["id"].implode())
    examples = panel.examples.filter(elsewhere)
    sample = read_sample(run.config)
    if sample is None or why_alone(panel, run.config.label) is not None:
        return examples
    others = sample.filter(elsewhere & ~pl.col("id").is_in(examples["id"].implode()))
    limit, label = run.config.max_pixels, run.config.label
    asked = ask(panel, others, limit, run.listener, "The sample", label)
    others = others.filter(~pl.col("id").is_in(list(asked.failures)))
    return pl.concat([examples, others], how="diagonal")


def why_alone(panel: Panel, settings: LabelConfig) -> str | None:
    """Say why each image is labeled alone; None where all are looked at together."""
    if settings.refine == "none" and settings.reject == "none":
        return "Each image is labeled alone: `label.refine` is `none`."
    if not _gives_vectors(panel):
        return f"Each image is labeled alone: {panel.name} gives no vectors."
    return None


def seen_by_space(
    run: Run, panel: Panel, images: pl.DataFrame, beside: pl.DataFrame, asked: Asked
) -> tuple[Seen, ...]:
    """Show what the teachers could read to the config's space; () where there is none, or where
    nothing would come of it.

    Args:
        run: whose config.
        panel: the teachers.
        images: columns id and path.
        beside: the examples that are none of them, likewise.
        asked: the teachers, about these images.
    """
    config = run.config
    if config.label.space is None or why_alone(panel, config.label) is not None:
        return ()
    readable = pl.concat(
        [
            images.filter(pl.col("id").is_in(asked.ids.implode())).select("id", "path"),
            beside.select("id", "path"),
        ]
    )
    seen = see(
        config.label.space,
        config.student,
        readable,
        config.max_pixels,
        run.listener,
        label=config.label,
    )
    return (seen,)


def _words(panel: Panel) -> Callable[[], Words] | None:
    """What gives words to hint with, of the teacher whose space is the first; None where reading a
    thousand of them would be somebody's bill."""
    member = next(one for one in panel.members if one.teacher.gives_vectors)
    return None if member.settings.kind == "inference" else partial(words_of, member.teacher)


def _gives_vectors(panel: Panel) -> bool:
    return any(member.teacher.gives_vectors for member in panel.members)


def _words_alone(asked: Asked, ontology: Ontology, folder: Path) -> np.ndarray | None:
    """What the words say without the examples, where there are any and every class has words."""
    if not ontology.examples or not all(ontology.worded):
        return None
    wordy = replace(asked, panel=asked.panel.without_examples())
    return stacked(plain_of(wordy), len(asked.ids), folder)


def plain_of(asked: Asked) -> Iterator[np.ndarray]:
    """Yield the answers of the teachers' words, (rows, classes) float32, block by block."""
    for start in range(0, len(asked.ids), _BLOCK):
        yield asked.answers(start, start + _BLOCK).together


def _spaces(asked: Asked, seen: Sequence[Seen]) -> Iterator[tuple[str, Vectors]]:
    """The name of each space, and what gives its vectors. A space that is a teacher's own tower is
    that teacher's, once."""
    known = set()
    for member, cache in zip(asked.panel.members, asked.caches, strict=True):
        if member.teacher.gives_vectors and member.teacher.fingerprint not in known:
            known.add(member.teacher.fingerprint)
            yield member.name, cache.vectors
    for one in seen:
        if one.fingerprint not in known:
            known.add(one.fingerprint)
            yield one.name, one.vectors


def blocks_of(vectors: Vectors, ids: pl.Series) -> Iterator[np.ndarray]:
    """Yield the vectors (n, dim) of images, some images at a time."""
    for start in range(0, len(ids), _BLOCK):
        yield vectors(ids[start : start + _BLOCK].to_list())


def _known(ids: pl.Series, human: Mapping[str, str], classes: Sequence[str]) -> np.ndarray:
    """Class indices of what people decided, (n,) int64; -1 where nobody has."""
    decided = ids.replace_strict(human, default=None, return_dtype=pl.String)
    return _indices(decided, {name: number for number, name in enumerate(classes)})


def _indices(names: pl.Series, numbers: Mapping[str, int]) -> np.ndarray:
    """Class indices of names, (n,) int64; -1 for null, and for a class that is no more."""
    found: np.ndarray = names.replace_strict(numbers, default=-1, return_dtype=pl.Int64).to_numpy()
    return found
