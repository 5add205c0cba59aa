"""`label`: find the images, ask the teacher, decide."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config import TeacherConfig
from pipeline.errors import SourceError
from pipeline.files import fingerprint, names_and_hashes
from pipeline.images.examples import Examples, read_examples
from pipeline.images.look import extract_frames, look_at_images
from pipeline.images.scan import describe, with_failures
from pipeline.labels.decide import label_table
from pipeline.labels.decisions import (
    decisions_of,
    match,
    read_decisions,
    review_table,
    write_decisions,
    write_review,
)
from pipeline.labels.drift import Drift, drift
from pipeline.labels.moved import look_at_folder, moved_by_hand
from pipeline.records import (
    LABELS,
    digest_of_columns,
    read_table,
    streamed_table,
    write_table,
)
from pipeline.run.place import without_place
from pipeline.run.stage import Run, Stage
from pipeline.run.workspace import Workspace
from pipeline.teachers import check_names, check_teacher
from pipeline.teachers.panel import Asked, ask, in_words, load_panel, prompt_warnings
from pipeline.values import counted

_BLOCK = 20_000  # images labeled together
_LOOKED_AT = 2000  # vectors of new images, and of earlier ones, to see a drift


@dataclass(frozen=True)
class LabelInputs:
    """What there is to label."""

    images: pl.DataFrame  # with the schema `records.IMAGES`
    notes: list[str]  # what a person should know of it: files and decisions that are not taken
    human: dict[str, str]  # image id → class, decided by people
    filled_in: list[str]  # ids of those that were decided in the review file
    moved: pl.DataFrame  # decisions that stand in moved.csv, or shall
    examples: Examples


@dataclass(frozen=True)
class LabelCounts:
    """What came out of labeling."""

    found: int
    usable: int
    duplicates: int
    unreadable: int
    embedded: int
    from_cache: int
    accepted: int
    abstained: int
    human: int
    per_class: dict[str, int]
    classes: list[str]
    teacher: str
    vectors_of: str | None  # fingerprint of the teacher whose vectors tell look-alikes
    warnings: list[str]
    drift: Drift | None
    seconds_to_label: float  # with all vectors at hand


def _check(run: Run) -> None:
    stamp = LABEL.stamp(run.workspace)
    for settings in map(check_teacher, run.config.teachers):
        # Whoever has labeled before can be loaded; to look names up takes seconds of importing.
        words = (settings.model.removeprefix("local-dir:"), settings.pretrained or "")
        if stamp is None or not all(Path(word).name in stamp.counts.teacher for word in words):
            check_names(settings)


def _look(run: Run) -> LabelInputs:
    looked = look_at_images(run)
    space, ontology, images = run.workspace, run.ontology, looked.images
    tables = [read_decisions(file, ontology) for file in (space.human, space.moved, space.review)]
    (pulled, absent), (moved, moved_absent), (filled_in, review_absent) = (
        match(table, images) for table in tables
    )
    fresh = moved_by_hand(look_at_folder(space), ontology.dataset_classes)
    examples = read_examples(run.config)
    notes = [*looked.left_out, *examples.notes]
    if lost := len(absent) + len(moved_absent) + len(review_absent):
        decisions = "1 decision names" if lost == 1 else f"{lost:,} decisions name"
        notes = [*notes, f"{decisions} no image that is here; they are kept for when it is."]
    return LabelInputs(
        images,
        notes,
        # What was moved since the last time is the newest of all; of the others, what was filled
        # in in the review file stands over what was moved, and that over what came from Roboflow.
        human=pulled | moved | filled_in | fresh,
        filled_in=list(filled_in),
        moved=pl.concat([decisions_of(moved | fresh, images), moved_absent]),
        examples=examples,
    )


def _digest(run: Run, inputs: LabelInputs) -> str:
    """Name what the labels depend on: pictures, prompts, teacher, thresholds, human decisions."""
    return fingerprint(
        digest_of_columns(
            inputs.images.with_columns(without_place(run, inputs.images["path"])), "path", "id"
        ),
        asdict(run.ontology),
        _asked(run.config.teachers),
        run.config.label.model_dump(),
        run.config.max_pixels,
        inputs.human,
        inputs.examples.digest,
    )


def _asked(teachers: Sequence[TeacherConfig]) -> list[Any]:
    """What a teacher's answers depend on: names, weight, and the files of those in folders."""
    from pipeline.teachers import resolve

    asked = []
    for settings in map(resolve, teachers):
        files: list[Any] = []
        if settings.model.startswith("local-dir:"):
            folder = Path(settings.model.removeprefix("local-dir:"))
            files = names_and_hashes([path for path in sorted(folder.glob("*")) if path.is_file()])
        elif settings.pretrained:
            files = names_and_hashes([Path(settings.pretrained)])
        named = settings.model_dump(
            include={"kind", "model", "pretrained", "weight", "url", "precision"}
        )
        # Only where they are stated: otherwise earlier labels would count as another teacher's.
        stated = settings.model_dump(include={"preprocess", "quick_gelu"}, exclude_defaults=True)
        asked.append([named | stated, files])
    return asked


def _work(run: Run, inputs: LabelInputs) -> LabelCounts:
    config, ontology, workspace, listener = run.config, run.ontology, run.workspace, run.listener
    listener.say(describe(inputs.images))
    for sentence in inputs.notes:
        listener.warn(sentence)
    listener.say(f"Loading {in_words(config.teachers)}.")
    examples = inputs.examples.table
    panel = load_panel(
        config.teachers, ontology, ontology.classes, listener, examples, config.max_pixels
    )
    doubts = prompt_warnings(panel, ontology)
    for sentence in doubts:
        listener.warn(sentence)
    usable = inputs.images.filter(pl.col("status") == "ok")
    asked = ask(panel, usable, config.max_pixels, listener)
    images = with_failures(inputs.images, asked.failures)
    if asked.failures:
        listener.warn(describe(images))
    write_table(workspace.images, images)
    usable = images.filter(pl.col("status") == "ok")
    if usable.is_empty():
        raise SourceError(
            f"None of the {len(images)} images found can be read, so there is nothing to label. "
            f"{workspace.images} says why for each."
        )
    embedded = time.monotonic()
    earlier = _earlier(workspace)
    _write_labels(run, inputs, usable, asked)
    labels = read_table(workspace.labels, LABELS, "label", ["class", "decision"])
    decisions = dict(labels.group_by("decision").len().iter_rows())
    statuses = dict(images.group_by("status").len().iter_rows())
    per_class = dict(labels.group_by("class").len().iter_rows())
    return LabelCounts(
        found=len(images),
        usable=len(usable),
        duplicates=statuses.get("duplicate", 0),
        unreadable=statuses.get("unreadable", 0),
        embedded=asked.computed,
        from_cache=asked.from_cache,
        accepted=decisions.get("accepted", 0),
        abstained=decisions.get("abstained", 0),
        human=decisions.get("human", 0),
        per_class={name: per_class.get(name, 0) for name in ontology.classes},
        classes=list(ontology.classes),
        teacher=panel.name,
        vectors_of=next(
            (m.teacher.fingerprint for m in panel.members if m.teacher.gives_vectors), None
        ),
        warnings=[*inputs.notes, *doubts],
        drift=_drift(run, asked, earlier),
        seconds_to_label=round(time.monotonic() - embedded, 3),
    )


def _write_labels(run: Run, inputs: LabelInputs, usable: pl.DataFrame, asked: Asked) -> None:
    """Write labels.parquet block by block, and review.csv."""
    workspace, settings = run.workspace, run.config.label
    with streamed_table(workspace.labels, LABELS) as table:
        for start in range(0, len(asked.ids), _BLOCK):
            table.add(
                label_table(
                    asked.ids[start : start + _BLOCK].to_list(),
                    usable[start : start + _BLOCK]["path"].to_list(),
                    asked.answers(start, start + _BLOCK).together,
                    run.ontology,
                    min_confidence=settings.min_confidence,
                    min_margin=settings.min_margin,
                    human=inputs.human,
                )
            )
    undecided = (
        pl.scan_parquet(workspace.labels, glob=False)
        .filter(pl.col("decision") != "accepted")
        .collect()
    )
    moved = set(inputs.moved["id"])
    elsewhere = {
        one: "Moved by hand to" if one in moved else "Decided on Roboflow"
        for one in inputs.human.keys() - set(inputs.filled_in)
    }
    write_review(workspace.review, review_table(undecided, run.ontology, elsewhere))
    if not inputs.moved.is_empty():
        write_decisions(workspace.moved, inputs.moved)


def _earlier(workspace: Workspace) -> pl.Series:
    """The ids that were labeled before."""
    if LABEL.stamp(workspace) is None or not workspace.labels.is_file():
        return pl.Series("id", [], pl.String)
    return read_table(workspace.labels, LABELS, "label", ["id"])["id"]


def _drift(run: Run, asked: Asked, earlier: pl.Series) -> Drift | None:
    """How the new images differ from the earlier ones; what was last said where none is new."""
    before = asked.ids.is_in(earlier.implode())
    new, old = asked.ids.filter(~before), asked.ids.filter(before)
    stamp = LABEL.stamp(run.workspace)
    if new.is_empty() and stamp is not None:
        return stamp.counts.drift
    if new.is_empty() or old.is_empty():
        return None
    labels = read_table(run.workspace.labels, LABELS, "label", ["id", "guess", "confidence"])
    is_new = pl.col("id").is_in(new.implode())
    # A part of them tells as much; every so many, so that no time of day is preferred.
    some = [side.gather_every(max(1, len(side) // _LOOKED_AT)).to_list() for side in (new, old)]
    vectors = asked.vectors(some[0]), asked.vectors(some[1])
    found = drift(
        labels.filter(is_new),
        labels.filter(~is_new),
        None if vectors[0] is None or vectors[1] is None else (vectors[0], vectors[1]),
    )
    if found is not None:
        (run.listener.warn if found.changed else run.listener.say)(found.sentence)
    return found


LABEL = Stage(
    name="label",
    command="label",
    counts=LabelCounts,
    check=_check,
    prepare=extract_frames,
    look=_look,
    digest=_digest,
    leaves=lambda run: (run.workspace.images, run.workspace.labels, run.workspace.review),
    work=_work,
    makes=lambda space: (space.images, space.frames, space.labels),
    summary=lambda counts: (
        f"{counted(counts.usable, 'image')}: {counts.accepted:,} accepted, "
        f"{counts.abstained:,} abstained"
    ),
)
