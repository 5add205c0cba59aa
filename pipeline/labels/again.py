"""All images of a labeled run once more, by what teachers and spaces have seen of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.config import Config, LabelConfig, SpaceConfig
from pipeline.files import stacked
from pipeline.images.examples import read_examples
from pipeline.labels.gather import (
    batch_of,
    beside_of,
    blocks_of,
    examples_among,
    plain_of,
    seen_by_space,
)
from pipeline.labels.judge import judge
from pipeline.labels.refine.batch import Batch
from pipeline.listener import SILENT
from pipeline.records import IMAGES, LABELS, read_table
from pipeline.run.stage import Run
from pipeline.spaces.see import Seen, see
from pipeline.teachers.panel import Asked, Panel, ask, load_panel


@dataclass(frozen=True)
class Gathered:
    """The images of a run, with what is known of each but the decisions of people."""

    asked: Asked
    seen: tuple[Seen, ...]
    images: pl.DataFrame  # with the schema `records.IMAGES`, row by row those of `asked.ids`
    beside: pl.DataFrame  # examples that are none of the images, with the schema `records.EXAMPLES`
    shown: dict[str, str]  # image id → class, of examples that are images of the run


def gather_again(run: Run, ids: Sequence[str] | pl.Series) -> Gathered:
    """Return images of a run as its labeling saw them; only what the caches have lost is shown to
    the teachers again.

    Args:
        run: which has been labeled.
        ids: of labeled images.

    Raises:
        Clip2YoloError: a teacher cannot be loaded or asked.
    """
    panel, images, asked = _asked_again(run, ids)
    beside = beside_of(run, panel, images)
    seen = seen_by_space(run, panel, images, beside, asked)
    failures = asked.failures | {one: why for each in seen for one, why in each.failures.items()}
    lost = pl.col("id").is_in(list(failures))
    images, beside = images.filter(~lost), beside.filter(~lost)
    shown = examples_among(panel.examples, images)
    return Gathered(asked.without(failures), seen, images, beside, shown)


def _asked_again(run: Run, ids: Sequence[str] | pl.Series) -> tuple[Panel, pl.DataFrame, Asked]:
    """The teachers, images with the schema `records.IMAGES`, and what the former say of them."""
    config = run.config
    panel = load_panel(
        config.teachers, run.ontology, run.ontology.classes, SILENT, read_examples(config).table,
        config.max_pixels,
    )  # fmt: skip
    images = read_table(run.workspace.images, IMAGES, "label")
    labeled = pl.DataFrame({"id": ids}, schema={"id": pl.String})
    images = labeled.join(
        images.filter(pl.col("status") == "ok").unique("id"), "id", maintain_order="left"
    )
    return panel, images, ask(panel, images, config.max_pixels, SILENT)


def words_again(run: Run, classes: Sequence[str]) -> pl.DataFrame:
    """Return what the teachers' words alone say of a run's images, each by itself.

    Args:
        run: which has been labeled.
        classes: of the answer, among those of the ontology.

    Returns:
        As `look_again`.

    Raises:
        Clip2YoloError: a teacher cannot be loaded or asked.
    """
    labels = read_table(run.workspace.labels, LABELS, "label", ["id"])
    _, _, asked = _asked_again(run, labels["id"])
    plain = stacked(plain_of(asked), len(asked.ids), run.workspace.root)
    return as_beliefs(asked.ids, plain, run.ontology.classes, classes)


def sight_of(config: Config) -> SpaceConfig | None:
    """Return the space that sees images beside the teachers; None where there is none, or one that
    is a teacher's own sight."""
    space = config.label.space
    if space is None or space.model in {teacher.model for teacher in config.teachers}:
        return None
    return space


def seen_again(run: Run) -> tuple[list[str], np.ndarray] | None:
    """Return ids of a run's labeled images, and the unit vectors (n, dim) float32 that its space
    has of them; None where it has none, see `sight_of`.

    Args:
        run: which has been labeled.

    Raises:
        Clip2YoloError: the space cannot be loaded or asked.
    """
    config, space = run.config, sight_of(run.config)
    if space is None:
        return None
    labels = read_table(run.workspace.labels, LABELS, "label", ["id", "path"])
    seen = see(space, config.student, labels, config.max_pixels, run.listener, label=config.label)
    ids = labels.filter(~pl.col("id").is_in(list(seen.failures)))["id"]
    blocks = blocks_of(seen.vectors, ids)
    return ids.to_list(), stacked(blocks, len(ids), run.workspace.root)


def look_again(run: Run, space: SpaceConfig, kept: Path, classes: Sequence[str]) -> pl.DataFrame:
    """Return what a run's images are believed to be once one more space has seen them.

    The labels, the files and the decisions of people stay as they are. Images are read together
    even where `label.refine` is "none": that is what was asked for.

    Args:
        run: which has been labeled.
        space: what sees them, beside the teachers and the config's own space.
        kept: folder for its vectors.
        classes: of the answer, among those of the ontology.

    Returns:
        Columns id and probabilities, a list in the order of `classes`, which sums to 1. Images that
        cannot be read any more are not in it.

    Raises:
        Clip2YoloError: a teacher or the space cannot be loaded or asked.
    """
    labels = read_table(run.workspace.labels, LABELS, "label", ["id", "class", "decision"])
    gathered = gather_again(run, labels["id"])
    beside = gathered.beside
    readable = pl.concat([gathered.images.select("id", "path"), beside.select("id", "path")])
    mine = see(space, run.config.student, readable, run.config.max_pixels, run.listener, kept)
    lost = pl.col("id").is_in(list(mine.failures))
    images, beside = gathered.images.filter(~lost), beside.filter(~lost)
    decided = labels.filter(pl.col("decision") == "human").select("id", "class").drop_nulls()
    human = gathered.shown | dict(decided.iter_rows())
    asked = gathered.asked.without(mine.failures)
    batch = batch_of(run, asked, (*gathered.seen, mine), images, beside, human)
    return beliefs_about(batch, asked.ids, run.config.label, classes)


def beliefs_about(
    batch: Batch, images: pl.Series, settings: LabelConfig, classes: Sequence[str]
) -> pl.DataFrame:
    """Return what the images of a batch are believed to be, read together.

    Args:
        batch: whose first rows are the images.
        images: ids of these.
        settings: whether to refine; "none" counts as "auto".
        classes: of the answer, among those of the batch.

    Returns:
        As `look_again`.
    """
    if settings.refine == "none":
        settings = settings.model_copy(update={"refine": "auto"})
    found = judge(batch, images, settings, None).probabilities
    return as_beliefs(images, found, batch.classes, classes)


def as_beliefs(
    images: pl.Series, probabilities: np.ndarray, known: Sequence[str], classes: Sequence[str]
) -> pl.DataFrame:
    """Return probabilities (n, known) of images as a table as of `look_again`."""
    columns = [known.index(name) for name in classes]
    shares = np.maximum(probabilities[:, columns].astype(np.float64), 1e-12)
    shares /= shares.sum(axis=1, keepdims=True)
    lists = pl.Series(shares.astype(np.float32), dtype=pl.Array(pl.Float32, len(columns)))
    return pl.DataFrame({"id": images, "probabilities": lists.cast(pl.List(pl.Float32))})
