"""`dataset`, the second half of `label`: deal the labels into splits, export folders or shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.dataset.beliefs import plan_beliefs, without_leaks
from pipeline.dataset.export import Exported, export_dataset
from pipeline.dataset.plan import plan_dataset, warnings_about
from pipeline.dataset.sharded import foreign_files, read_note, read_sharded
from pipeline.dataset.shards import export_shards
from pipeline.errors import ConfigError, SourceError, WorkspaceError
from pipeline.files import fingerprint, stacked
from pipeline.images.films import with_lengths
from pipeline.labels.answers import read_answers
from pipeline.labels.moved import FolderState, exported, look_at_folder
from pipeline.labels.stage import LABEL
from pipeline.listener import Progress
from pipeline.records import (
    DATASET,
    IMAGES,
    LABELS,
    SHARDED_FILE,
    SPLITS,
    digest_of_columns,
    digest_of_numbers,
    read_table,
    write_table,
)
from pipeline.run.place import without_place
from pipeline.run.stage import Run, Stage
from pipeline.run.workspace import Workspace
from pipeline.storage.address import is_address
from pipeline.storage.filesystems import filesystem_of
from pipeline.storage.tables import check_library
from pipeline.teachers.panel import cached_vectors
from pipeline.values import counted

_BLOCK = 20_000  # vectors copied together
_SAID = ["id", "path", "class", "guess", "unlike", "probabilities", "decision"]
_LINKS = (
    "`dataset.files: link`: the files in dataset/ are your own photos under a second name. A tool "
    "that writes into the dataset changes them."
)


@dataclass(frozen=True)
class DatasetInputs:
    """The labels that the dataset is made of."""

    accepted: pl.DataFrame  # columns id, path and class
    beliefs: pl.DataFrame  # what is said of all images that may teach: the columns `_SAID`
    nothing: list[str]  # ids of images that a person said to be of none of the classes
    labels: int  # how many images there are labels of, accepted or not
    audited: int = 0  # images that are kept out, as they measure


@dataclass(frozen=True)
class Dealt:
    """By what the splits were dealt."""

    seed: int
    splits: dict[str, float]  # shares


@dataclass(frozen=True)
class DatasetCounts:
    """What came out of exporting."""

    images: int
    splits: dict[str, dict[str, int]]  # split → class → images
    groups: int  # of near-duplicates, each image that has none counted as one
    left_out: int  # images that would have leaked
    dealt: Dealt
    warnings: list[str]


def _look(run: Run) -> DatasetInputs:
    labels = read_table(run.workspace.labels, LABELS, "label", _SAID)
    answers = read_answers(run.workspace.said)
    # What was audited is truth: it measures, so that nothing may learn from it.
    audited = pl.Series(list(answers.audited), dtype=pl.String)
    said = labels.filter(~pl.col("id").is_in(audited.implode()))
    of_dataset = pl.col("class").is_in(list(run.ontology.dataset_classes))
    kept = said.filter(of_dataset).select("id", "path", "class")
    # An answer that gave no label was "none of these", or a class that the ontology lacks.
    of_none = said.filter(pl.col("class").is_null() & pl.col("id").is_in(list(answers.taught)))
    return DatasetInputs(
        kept, said, of_none["id"].to_list(), len(labels), len(labels.filter(of_dataset)) - len(kept)
    )


def _digest(run: Run, inputs: DatasetInputs) -> str:
    """Name what the dataset depends on: who is in which class, how it is dealt, and what is
    believed of all."""
    return fingerprint(
        digest_of_columns(
            inputs.accepted.with_columns(without_place(run, inputs.accepted["path"])),
            *("id", "path", "class"),
        ),
        run.ontology.dataset_classes,
        _settings(run),
        digest_of_columns(inputs.beliefs, "id", "guess", "decision"),
        digest_of_numbers(inputs.beliefs["probabilities"].explode(), inputs.beliefs["unlike"]),
        _limit(run),
        sorted(inputs.nothing),
    )


def _settings(run: Run) -> dict[str, object]:
    """The settings that count; those of shards where there are shards."""
    config = run.config.dataset
    if config.format == "folder":
        return config.model_dump(exclude={"format", "to", "shard_size"})
    to = without_place(run, pl.Series([str(config.to or "")]))[0]
    return config.model_dump(exclude={"files"}) | {"to": to}


def _check(run: Run) -> None:
    settings = run.config.dataset
    if settings.format == "parquet":
        check_library()
    if settings.to is None:
        return
    for source in run.config.sources:
        if f"{settings.to}/".startswith(f"{str(source.path).rstrip('/')}/"):
            raise ConfigError(
                "`dataset.to` lies in a source, so that the next run would label the dataset. Give "
                "it a place outside."
            )
    if is_address(settings.to):
        filesystem_of(str(settings.to))


def _limit(run: Run) -> float | None:
    """From where on an image fits no class; None where labels were not refused for that."""
    stamp = LABEL.stamp(run.workspace)
    return None if stamp is None else stamp.counts.limit


def _leaves(run: Run) -> Iterator[Path]:
    yield run.workspace.dataset_table
    yield run.workspace.beliefs
    if run.config.dataset.format == "folder":
        yield from (run.workspace.dataset / split for split in SPLITS)
    else:
        yield run.workspace.dataset / SHARDED_FILE


def _is_intact(run: Run) -> bool:
    if run.config.dataset.format != "folder":
        shards = read_sharded(run.workspace)
        return shards is not None and not shards.lacking()
    state = look_at_folder(run.workspace)
    return state is not None and state.whole


def _work(run: Run, inputs: DatasetInputs) -> DatasetCounts:
    config, workspace, listener = run.config, run.workspace, run.listener
    classes, accepted = run.ontology.dataset_classes, inputs.accepted
    if accepted.is_empty():
        raise SourceError(
            f"The teacher accepted none of the {inputs.labels} images, so there is no dataset. "
            f"Lower `label.min_confidence` ({config.label.min_confidence:g}), reword the prompts, "
            f"or look at {workspace.review}."
        )
    vectors = vectors_of(run, accepted)
    if vectors is None and config.dataset.near_duplicate is not None:
        listener.warn(
            "This teacher gives no vectors, so near-duplicates cannot be kept in one split. Set "
            "`dataset.near_duplicate: null` if that is meant."
        )
    if inputs.audited:
        listener.say(f"Kept out of the dataset, as they were audited: {inputs.audited:,} images.")
    dealt = Dealt(config.dataset.seed, config.dataset.splits.model_dump())
    state = look_at_folder(workspace)
    previous = _previous_plan(workspace, dealt)
    if previous is not None and state is not None:
        previous = _as_moved(previous, state)
    plan = plan_dataset(_with_video(accepted, workspace), vectors, config.dataset, previous)
    with listener.bar("Exporting", "images") as progress:
        done = _export(run, plan, state, progress)
    write_table(workspace.dataset_table, plan)
    write_table(workspace.beliefs, _beliefs(run, inputs, plan))
    left_out = len(accepted) - len(plan)
    warnings = [
        *([] if state is None else _mended(state)),
        *done.sentences(),
        *([_LINKS] if config.dataset.files == "link" else []),
        *warnings_about(plan, classes, left_out),
    ]
    for sentence in warnings:
        listener.warn(sentence)
    sizes = {(split, name): n for split, name, n in plan.group_by("split", "class").len().rows()}
    return DatasetCounts(
        images=len(plan),
        splits={split: {name: sizes.get((split, name), 0) for name in classes} for split in SPLITS},
        groups=plan["group"].n_unique(),
        left_out=left_out,
        dealt=dealt,
        warnings=warnings,
    )


def _export(
    run: Run, plan: pl.DataFrame, state: FolderState | None, progress: Progress
) -> Exported:
    """Write the dataset in the format that was asked for, in the place of what lies there."""
    config, workspace = run.config, run.workspace
    settings = config.dataset
    if settings.format != "folder":
        return export_shards(
            plan,
            read_table(workspace.images, IMAGES, "label", ["id", "bytes"]).drop_nulls("id"),
            workspace.dataset,
            form=settings.format,
            to=settings.to,
            shard_bytes=settings.shard_bytes,
            foreign=() if state is None else state.foreign,
            max_pixels=config.max_pixels,
            progress=progress,
        )
    before, note = exported(workspace), read_note(workspace.dataset)
    done = export_dataset(
        plan,
        workspace.dataset,
        files=settings.files,
        earlier=None if before is None else dict(before.select("id", "file").iter_rows()),
        foreign=foreign_files(workspace.dataset) if state is None else state.foreign,
        max_pixels=config.max_pixels,
        progress=progress,
    )
    if note is not None:
        done.left_behind.extend(note.left_behind(None))
    return done


def _beliefs(run: Run, inputs: DatasetInputs, plan: pl.DataFrame) -> pl.DataFrame:
    ontology = run.ontology
    beliefs = plan_beliefs(
        inputs.beliefs,
        plan,
        ontology.classes,
        left_out=None if ontology.keep_background else ontology.background,
        nothing=inputs.nothing,
        limit=_limit(run),
    )
    return without_leaks(
        beliefs,
        plan,
        lambda images: vectors_of(run, images),
        lambda images: _with_video(images, run.workspace),
        run.config.dataset.near_duplicate,
    )


def _as_moved(previous: pl.DataFrame, state: FolderState) -> pl.DataFrame:
    """The last export's table with the splits that files were moved to by hand."""
    moved = state.moved.select("id", now="split")
    rows = previous.join(moved, "id", "left", maintain_order="left")
    return rows.with_columns(split=pl.coalesce("now", "split")).drop("now")


def _mended(state: FolderState) -> list[str]:
    """What was found in the dataset's folder that was not as it was written, in sentences."""
    said = []
    if count := len(state.moved):
        said.append(f"Moved by hand, and so decided: {counted(count, 'file')} of the dataset.")
    if count := len(state.missing) + len(state.damaged):
        some = ", ".join([*state.missing, *state.damaged][:3])
        said.append(f"Missing or changed, and written again: {counted(count, 'file')} ({some}).")
    if state.doubled:
        said.append(
            f"In a second place, and passed over: {', '.join(state.doubled[:3])}. To decide, move "
            "a file instead of copying it."
        )
    return said


def _with_video(accepted: pl.DataFrame, workspace: Workspace) -> pl.DataFrame:
    """Add each frame's video, its time, and the video's length, where there are frames."""
    images = read_table(workspace.images, IMAGES, "label").filter(pl.col("video").is_not_null())
    if images.is_empty():
        return accepted
    known = with_lengths(images.select("path", "video", "seconds"))
    return accepted.join(known, "path", "left", maintain_order="left")


def _previous_plan(workspace: Workspace, dealt: Dealt) -> pl.DataFrame | None:
    """The last export; its splits stand unless a person asked for other shares or another seed."""
    stamp = EXPORT.stamp(workspace)
    if stamp is None or stamp.counts.dealt != dealt or not workspace.dataset_table.is_file():
        return None
    return read_table(workspace.dataset_table, DATASET, "label")


def vectors_of(run: Run, images: pl.DataFrame) -> np.ndarray | None:
    """Return the vectors (n, dim) float16 of labeled images, of the first teacher that gives any;
    None where no teacher gives vectors.

    Many are a map of a file that has no name and goes with it: a million would fill the memory.

    Raises:
        WorkspaceError: there are no labels yet.
        SourceError: images have changed since they were labeled.
    """
    stamp = LABEL.stamp(run.workspace)
    if stamp is None:
        raise WorkspaceError(
            f"{run.workspace.root} has no labels yet. Run `clip2yolo label` first."
        )
    if stamp.counts.vectors_of is None:
        return None
    cache = cached_vectors(
        stamp.counts.vectors_of, images, run.config.teachers, run.ontology, run.config.max_pixels
    )
    blocks = (
        cache.vectors(images["id"][start : start + _BLOCK].to_list(), np.float16)
        for start in range(0, len(images), _BLOCK)
    )
    return stacked(blocks, len(images), run.workspace.root)


EXPORT = Stage(
    name="dataset",
    command="label",
    counts=DatasetCounts,
    look=_look,
    digest=_digest,
    check=_check,
    leaves=_leaves,
    intact=_is_intact,
    work=_work,
    makes=lambda space: (space.dataset_table, space.beliefs, space.dataset),
    summary=lambda counts: ", ".join(
        f"{sum(part.values()):,} {split}" for split, part in counts.splits.items()
    ),
)
