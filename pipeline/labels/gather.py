"""All images of a run at once, with what is known of each: what refinement is handed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
from pipeline.teachers.panel import Asked, Panel

_BLOCK = 20_000  # images at a time


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
    images: pl.DataFrame,
    human: Mapping[str, str],
    earlier: Earlier | None,
    steady: Earlier | None,
) -> Verdicts:
    """Return what is known of each image that could be read.

    Args:
        run: whose settings and folder.
        asked: about the images.
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
    if settings.refine == "none" and settings.reject == "none":
        why = "Each image is labeled alone, by the words: `label.refine` is `none`."
        return each_alone(plain, known, classes, settings, why)
    if not _gives_vectors(asked.panel):
        why = f"Each image is labeled alone, by the words: {asked.panel.name} gives no vectors."
        return each_alone(plain, known, classes, settings, why)
    spaces = tuple(
        Space(member.name, stacked(_vectors(asked, number), len(asked.ids), run.workspace.root))
        for number, member in enumerate(asked.panel.members)
        if member.teacher.gives_vectors
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


def _gives_vectors(panel: Panel) -> bool:
    return any(member.teacher.gives_vectors for member in panel.members)


def _plain(asked: Asked) -> Iterator[np.ndarray]:
    for start in range(0, len(asked.ids), _BLOCK):
        yield asked.answers(start, start + _BLOCK).together


def _vectors(asked: Asked, member: int) -> Iterator[np.ndarray]:
    for start in range(0, len(asked.ids), _BLOCK):
        yield asked.caches[member].vectors(asked.ids[start : start + _BLOCK].to_list())


def _indices(names: pl.Series, numbers: Mapping[str, int]) -> np.ndarray:
    """Class indices of names, (n,) int64; -1 for null, and for a class that is no more."""
    found: np.ndarray = names.replace_strict(numbers, default=-1, return_dtype=pl.Int64).to_numpy()
    return found
