"""`dataset`, the second half of `label`: deal the labels into splits and export the folders."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import Config
from pipeline.dataset.export import export_dataset
from pipeline.dataset.plan import plan_dataset, warnings_about
from pipeline.errors import SourceError, WorkspaceError
from pipeline.files import cache_dir, fingerprint
from pipeline.listener import Listener
from pipeline.ontology import Ontology
from pipeline.records import DATASET, IMAGES, LABELS, SPLITS, read_table, write_table
from pipeline.run.stage import StageResult, digest_of, up_to_date
from pipeline.run.workspace import Workspace
from pipeline.teachers.panel import cache_of, load_panel

_BLOCK = 20_000  # vectors copied together


def dataset_fingerprint(config: Config, ontology: Ontology, labels: pl.DataFrame) -> str:
    """Name what the dataset depends on: who is in which class, and how it is dealt."""
    accepted = accepted_of(labels, ontology)
    return fingerprint(
        digest_of(accepted, "id", "path", "class"),
        ontology.dataset_classes,
        config.dataset.model_dump(),
    )


def accepted_of(labels: pl.DataFrame, ontology: Ontology) -> pl.DataFrame:
    return labels.filter(pl.col("class").is_in(list(ontology.dataset_classes)))


def make_dataset(
    config: Config, ontology: Ontology, workspace: Workspace, listener: Listener
) -> StageResult:
    started = time.monotonic()
    labels = read_table(workspace.labels, LABELS, "label", ["id", "path", "class"])
    print_ = dataset_fingerprint(config, ontology, labels)
    current = workspace.is_current("dataset", print_)
    if current and workspace.dataset_table.is_file() and workspace.dataset.is_dir():
        return up_to_date(workspace, "dataset")

    accepted = accepted_of(labels, ontology)
    if accepted.is_empty():
        raise SourceError(
            f"The teacher accepted none of the {len(labels)} images, so there is no dataset. Lower "
            f"`label.min_confidence` ({config.label.min_confidence:g}), reword the prompts, or "
            f"look at {workspace.review}."
        )
    dealt = {"seed": config.dataset.seed, "splits": config.dataset.splits.model_dump()}
    previous = _previous_plan(workspace, dealt)
    vectors = vectors_of(config, ontology, accepted, workspace)
    if vectors is None and config.dataset.near_duplicate is not None:
        listener.warn(
            "This teacher gives no vectors, so near-duplicates cannot be kept in one split. Set "
            "`dataset.near_duplicate: null` if that is meant."
        )
    plan = plan_dataset(
        _with_video(accepted, workspace),
        vectors,
        config.dataset,
        previous,
    )
    classes = ontology.dataset_classes
    left_out = len(accepted) - len(plan)
    with listener.bar("Exporting", "images") as progress:
        export_dataset(
            plan,
            classes,
            workspace.dataset,
            files=config.dataset.files,
            max_pixels=config.max_pixels,
            progress=progress,
        )
    write_table(workspace.dataset_table, plan)
    warnings = warnings_about(plan, classes, left_out)
    for sentence in warnings:
        listener.warn(sentence)
    sizes = {(split, name): n for split, name, n in plan.group_by("split", "class").len().rows()}
    counts = {
        "images": len(plan),
        "splits": {
            split: {name: sizes.get((split, name), 0) for name in classes} for split in SPLITS
        },
        "groups": plan["group"].n_unique(),
        "left_out": left_out,
        "dealt": dealt,
        "warnings": warnings,
    }
    seconds = time.monotonic() - started
    workspace.finish("dataset", print_, counts, seconds)
    return StageResult("dataset", False, counts, seconds)


def _with_video(accepted: pl.DataFrame, workspace: Workspace) -> pl.DataFrame:
    """Add each frame's video, its time, and the video's length, where there are frames."""
    images = read_table(workspace.images, IMAGES, "label").filter(pl.col("video").is_not_null())
    if images.is_empty():
        return accepted
    lengths = images.group_by("video").agg(length=pl.col("seconds").max())
    known = images.select("path", "video", "seconds").join(lengths, "video", "left")
    return accepted.join(known, "path", "left", maintain_order="left")


def _previous_plan(workspace: Workspace, dealt: dict[str, Any]) -> pl.DataFrame | None:
    """The last export; its splits stand unless a person asked for other shares or another seed."""
    stamp = workspace.stamp("dataset")
    if stamp is None or stamp.counts.get("dealt") != dealt or not workspace.dataset_table.is_file():
        return None
    return read_table(workspace.dataset_table, DATASET, "label")


def vectors_of(
    config: Config, ontology: Ontology, images: pl.DataFrame, workspace: Workspace
) -> np.ndarray | None:
    """The vectors (n, dim) of labeled images, from the cache of the first teacher that gives any;
    it is loaded only where the cache has lost some. None where no teacher gives vectors.

    They are a map of a file that has no name and goes with it: a million would fill the memory.
    """
    from pipeline.teachers.cache import EmbeddingCache
    from pipeline.teachers.engines.threads import embed, missing_of

    stamp = workspace.stamp("label")
    if stamp is None:
        raise WorkspaceError(f"{workspace.root} has no labels yet. Run `clip2yolo label` first.")
    fingerprint = stamp.counts["vectors_of"]
    if fingerprint is None:
        return None
    cache = EmbeddingCache(cache_dir() / "embeddings", fingerprint)
    if missing_of(images, cache):
        panel = load_panel(config, ontology, ontology.classes)
        asked = list(zip((m.teacher for m in panel.members), config.teachers, strict=True))
        giving = [pair for pair in asked if pair[0].gives_vectors]
        # Another machine may compute with another precision: its vectors are as good for this.
        teacher, settings = next((p for p in giving if p[0].fingerprint == fingerprint), giving[0])
        cache = cache_of(teacher)
        embedded = embed(teacher, images, cache, batch=settings.batch, max_pixels=config.max_pixels)
        if embedded.failures:
            raise SourceError(
                f"{len(embedded.failures)} images changed or vanished after they were labeled. "
                "Run `clip2yolo label` again."
            )
    with tempfile.TemporaryFile(dir=workspace.root) as file:
        dim = 0
        for start in range(0, len(images), _BLOCK):
            block = cache.vectors(images["id"][start : start + _BLOCK].to_list(), np.float16)
            dim = block.shape[1]
            file.write(block.data)
        file.flush()
        return np.memmap(file, np.float16, "r", shape=(len(images), dim))
