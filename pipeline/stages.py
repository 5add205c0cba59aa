"""The stages of a run, as plain functions: label, train, evaluate.

Each takes a loaded config, does what is not yet done, leaves its artifacts in the workspace and
returns what came out. The command line adds only words to them; a notebook calls them like this:

    config = load_config(Path("configs/packing_line.yaml"))
    label(config), train(config), evaluate(config)
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import Config, TeacherConfig
from pipeline.dataset import export_dataset, plan_dataset, warnings_about
from pipeline.errors import SourceError, WorkspaceError
from pipeline.label import label_table, review_table
from pipeline.ontology import Ontology, build_ontology
from pipeline.paths import cache_dir
from pipeline.records import DATASET, IMAGES, LABELS, SPLITS, Listener
from pipeline.review import read_review, write_review
from pipeline.sources import describe, find_images, scan, with_failures
from pipeline.workspace import Workspace, fingerprint, read_table, write_table

SILENT = Listener()


@dataclass(frozen=True)
class StageResult:
    """What a stage did: nothing, where it was up to date, or the counts that its stamp holds."""

    stage: str
    skipped: bool
    counts: Mapping[str, Any]
    seconds: float


def ontology_of(config: Config) -> Ontology:
    """Build the config's ontology (see `build_ontology` for what is refused)."""
    background = config.background
    return build_ontology(
        config.ontology,
        config.templates,
        None if background is None else background.name,
        True if background is None else background.keep,
    )


def label(config: Config, listener: Listener = SILENT) -> list[StageResult]:
    """Find the images, label them with the teacher and export the folder dataset.

    Returns:
        The results of the stages `label` and `dataset`.

    Raises:
        Clip2YoloError: bad input, a teacher that cannot be loaded, a busy workspace.
    """
    ontology = ontology_of(config)
    workspace = Workspace(config.workspace)
    with workspace.locked():
        return [
            _label(config, ontology, workspace, listener),
            _dataset(config, ontology, workspace, listener),
        ]


def label_fingerprint(config: Config, ontology: Ontology, images: pl.DataFrame) -> str:
    """Name what the labels depend on: pictures, prompts, teacher, thresholds, human decisions."""
    human = read_review(Workspace(config.workspace).review, ontology)
    return fingerprint(
        images.select("path", "id").rows(),
        asdict(ontology),
        config.teacher.model_dump(include={"kind", "model", "pretrained"}),
        _weights_on_disk(config.teacher),
        config.label.model_dump(),
        config.max_pixels,
        human,
    )


def _label(
    config: Config, ontology: Ontology, workspace: Workspace, listener: Listener
) -> StageResult:
    started = time.monotonic()
    images = scan_sources(config, listener)
    print_ = label_fingerprint(config, ontology, images)
    if workspace.is_current("label", print_) and workspace.labels.is_file():
        return _up_to_date(workspace, "label")
    listener.say(describe(images))

    from pipeline.embed import EmbeddingCache, embed
    from pipeline.teachers import load_teacher
    from pipeline.teachers.zero_shot import ZeroShot, embed_prompts, unknown_word_warnings

    settings = config.teacher
    listener.say(f"Loading the teacher {settings.kind} {settings.model}.")
    teacher = load_teacher(settings.kind, settings.model, settings.pretrained, settings.device)
    warnings = unknown_word_warnings(teacher, ontology)
    for sentence in warnings:
        listener.warn(sentence)
    zero_shot = ZeroShot(teacher, ontology, embed_prompts(teacher, ontology), ontology.classes)

    usable = images.filter(pl.col("status") == "ok")
    with listener.bar("Embedding", "images") as progress:
        embedded = embed(
            teacher,
            [(one, Path(path)) for one, path in usable.select("id", "path").iter_rows()],
            EmbeddingCache(cache_dir() / "embeddings", teacher.fingerprint),
            batch=settings.batch,
            max_pixels=config.max_pixels,
            progress=progress,
        )
    images = with_failures(images, embedded.failures)
    if embedded.failures:
        listener.warn(describe(images))
    write_table(workspace.images, images)
    usable = images.filter(pl.col("status") == "ok")
    if usable.is_empty():
        raise SourceError(
            f"None of the {len(images)} images found can be read, so there is nothing to label. "
            f"{workspace.images} says why for each."
        )
    labels = label_table(
        usable["id"].to_list(),
        usable["path"].to_list(),
        zero_shot.classify(np.stack([embedded.vectors[one] for one in usable["id"]])),
        ontology,
        min_confidence=config.label.min_confidence,
        min_margin=config.label.min_margin,
        human=read_review(workspace.review, ontology),
    )
    write_table(workspace.labels, labels)
    write_review(workspace.review, review_table(labels, ontology))
    decisions = dict(labels.group_by("decision").len().iter_rows())
    statuses = dict(images.group_by("status").len().iter_rows())
    per_class = dict(labels.group_by("class").len().iter_rows())
    counts = {
        "found": len(images),
        "usable": len(usable),
        "duplicates": statuses.get("duplicate", 0),
        "unreadable": statuses.get("unreadable", 0),
        "embedded": embedded.computed,
        "from_cache": len(embedded.vectors) - embedded.computed,
        "accepted": decisions.get("accepted", 0),
        "abstained": decisions.get("abstained", 0),
        "human": decisions.get("human", 0),
        "per_class": {name: per_class.get(name, 0) for name in ontology.classes},
        "classes": list(ontology.classes),
        "teacher": teacher.name,
        "teacher_fingerprint": teacher.fingerprint,
        "warnings": warnings,
    }
    seconds = time.monotonic() - started
    workspace.finish("label", print_, counts, seconds)
    return StageResult("label", False, counts, seconds)


def scan_sources(config: Config, listener: Listener = SILENT) -> pl.DataFrame:
    """Find and hash the config's images; files known from the last time are not opened again."""
    workspace = Workspace(config.workspace)
    paths = find_images(config.sources)
    known = None
    if workspace.images.is_file():
        try:
            known = read_table(workspace.images, IMAGES, "label")
        except WorkspaceError as error:
            listener.warn(f"{error} All images are hashed anew.")
    with listener.bar("Scanning", "files") as progress:
        return scan(paths, known, progress=progress, max_pixels=config.max_pixels)


def dataset_fingerprint(config: Config, ontology: Ontology, labels: pl.DataFrame) -> str:
    """Name what the dataset depends on: who is in which class, and how it is dealt."""
    accepted = _accepted(labels, ontology)
    return fingerprint(
        accepted.select("id", "path", "class").rows(),
        ontology.dataset_classes,
        config.dataset.model_dump(),
    )


def _accepted(labels: pl.DataFrame, ontology: Ontology) -> pl.DataFrame:
    return labels.filter(pl.col("class").is_in(list(ontology.dataset_classes)))


def _dataset(
    config: Config, ontology: Ontology, workspace: Workspace, listener: Listener
) -> StageResult:
    started = time.monotonic()
    labels = read_table(workspace.labels, LABELS, "label")
    print_ = dataset_fingerprint(config, ontology, labels)
    current = workspace.is_current("dataset", print_)
    if current and workspace.dataset_table.is_file() and workspace.dataset.is_dir():
        return _up_to_date(workspace, "dataset")

    accepted = _accepted(labels, ontology)
    if accepted.is_empty():
        raise SourceError(
            f"The teacher accepted none of the {len(labels)} images, so there is no dataset. Lower "
            f"`label.min_confidence` ({config.label.min_confidence:g}), reword the prompts, or "
            f"look at {workspace.review}."
        )
    dealt = {"seed": config.dataset.seed, "splits": config.dataset.splits.model_dump()}
    previous = _previous_plan(workspace, dealt)
    plan = plan_dataset(
        accepted,
        _vectors(config, accepted, workspace),
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


def _previous_plan(workspace: Workspace, dealt: dict[str, Any]) -> pl.DataFrame | None:
    """The last export, whose splits stand unless a person asked for other shares or another seed."""
    stamp = workspace.stamp("dataset")
    if stamp is None or stamp.counts.get("dealt") != dealt or not workspace.dataset_table.is_file():
        return None
    return read_table(workspace.dataset_table, DATASET, "label")


def _vectors(config: Config, images: pl.DataFrame, workspace: Workspace) -> np.ndarray:
    """The teacher's vectors (n, dim) of labeled images, from the cache; the teacher is loaded only
    where the cache has lost some."""
    from pipeline.embed import EmbeddingCache, embed

    stamp = workspace.stamp("label")
    if stamp is None:
        raise WorkspaceError(f"{workspace.root} has no labels yet. Run `clip2yolo label` first.")
    cache = EmbeddingCache(cache_dir() / "embeddings", stamp.counts["teacher_fingerprint"])
    ids = images["id"].to_list()
    vectors = cache.get(ids)
    if len(vectors) < len(ids):
        from pipeline.teachers import load_teacher

        settings = config.teacher
        teacher = load_teacher(settings.kind, settings.model, settings.pretrained, settings.device)
        pairs = [(one, Path(path)) for one, path in images.select("id", "path").iter_rows()]
        embedded = embed(
            teacher, pairs, cache, batch=settings.batch, max_pixels=config.max_pixels
        )
        if embedded.failures:
            raise SourceError(
                f"{len(embedded.failures)} images changed or vanished after they were labeled. "
                "Run `clip2yolo label` again."
            )
        vectors = embedded.vectors
    return np.stack([vectors[one] for one in ids])


def train(config: Config, listener: Listener = SILENT) -> StageResult:
    """Train the student on the exported dataset.

    Raises:
        WorkspaceError: there is no dataset yet, or the workspace is busy.
        StudentError: the dataset or the settings cannot be trained with.
    """
    ontology = ontology_of(config)
    workspace = Workspace(config.workspace)
    with workspace.locked():
        started = time.monotonic()
        plan = read_table(workspace.dataset_table, DATASET, "label")
        print_ = train_fingerprint(config, ontology, plan)
        if workspace.is_current("train", print_) and (workspace.student / "weights.pt").is_file():
            return _up_to_date(workspace, "train")

        from pipeline import student

        with listener.bar("Training", "epochs") as progress:

            def on_epoch(report: student.EpochReport) -> None:
                progress(report.epoch, report.epochs)
                listener.epoch(report)

            result = student.train(
                workspace.dataset,
                workspace.student,
                config.student,
                ontology.dataset_classes,
                on_epoch=on_epoch,
            )
        counts = {**asdict(result), "classes": list(ontology.dataset_classes)}
        seconds = time.monotonic() - started
        workspace.finish("train", print_, counts, seconds)
        return StageResult("train", False, counts, seconds)


def train_fingerprint(config: Config, ontology: Ontology, plan: pl.DataFrame) -> str:
    """Name what the student depends on: the pictures and their classes and splits, the settings."""
    return fingerprint(
        plan.select("file", "id").sort("file").rows(),
        ontology.dataset_classes,
        config.student.model_dump(exclude={"device", "workers"}),
        _file_state(Path(config.student.model)),
    )


def _up_to_date(workspace: Workspace, stage: str) -> StageResult:
    stamp = workspace.stamp(stage)
    assert stamp is not None  # the caller has just compared its fingerprint
    return StageResult(stage, True, stamp.counts, 0.0)


def _weights_on_disk(settings: TeacherConfig) -> list[Any]:
    """State of the files of a teacher that lies in a folder, so that replaced weights count."""
    from pipeline.teachers import locate

    model = locate(settings.model)
    if not model.startswith("local-dir:"):
        return [_file_state(Path(settings.pretrained))] if settings.pretrained else []
    folder = Path(model.removeprefix("local-dir:"))
    return [_file_state(path) for path in sorted(folder.glob("*")) if path.is_file()]


def _file_state(path: Path) -> list[Any] | None:
    """Name, size and time of a file; None where there is none (a name that is no path)."""
    if not path.is_file():
        return None
    state = path.stat()
    return [path.name, state.st_size, state.st_mtime_ns]
