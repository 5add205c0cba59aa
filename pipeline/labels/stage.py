"""`label`: find the images, ask the teacher, decide."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.config import Config
from pipeline.dataset.stage import make_dataset
from pipeline.errors import SourceError, WorkspaceError
from pipeline.files import fingerprint
from pipeline.images.frames import FrameFile, extract, forget_others, has_frames, with_frames
from pipeline.images.scan import describe, scan, with_damaged, with_failures
from pipeline.images.sources import find_images, sort_sources
from pipeline.labels.decide import label_table
from pipeline.labels.decisions import human_decisions, review_table, write_review
from pipeline.listener import Listener
from pipeline.ontology import Ontology, ontology_of
from pipeline.records import IMAGES, LABELS, read_table, streamed_table, write_table
from pipeline.run.stage import SILENT, StageResult, digest_of, teachers_asked, up_to_date
from pipeline.run.workspace import Workspace
from pipeline.teachers.panel import Asked, ask, in_words, load_panel, prompt_warnings

_BLOCK = 20_000  # images labeled together
_LOOKED_AT = 2000  # vectors of new images, and of earlier ones, to see a drift
_LOOKS = ("confidence", "classes", "vectors")


def label(config: Config, listener: Listener = SILENT, verify: bool = False) -> list[StageResult]:
    """Find the images, label them with the teacher and export the folder dataset.

    Args:
        config: the run.
        listener: told how it goes.
        verify: hash every file again, also where size and time say that it is unchanged.

    Returns:
        The results of the stages `label` and `dataset`.

    Raises:
        Clip2YoloError: bad input, a teacher that cannot be loaded, a busy workspace.
    """
    ontology = ontology_of(config)
    workspace = Workspace(config.workspace)
    with workspace.locked():
        return [
            label_images(config, ontology, workspace, listener, verify),
            make_dataset(config, ontology, workspace, listener),
        ]


def label_fingerprint(config: Config, ontology: Ontology, images: pl.DataFrame) -> str:
    """Name what the labels depend on: pictures, prompts, teacher, thresholds, human decisions."""
    human = human_decisions(Workspace(config.workspace), ontology)
    return fingerprint(
        digest_of(images, "path", "id"),
        asdict(ontology),
        teachers_asked(config),
        config.label.model_dump(),
        config.max_pixels,
        human,
    )


def label_images(
    config: Config,
    ontology: Ontology,
    workspace: Workspace,
    listener: Listener = SILENT,
    verify: bool = False,
) -> StageResult:
    """Do the first half: `labels.parquet` and what lies beside it, without the dataset."""
    started = time.monotonic()
    images = scan_sources(config, listener, verify=verify)
    print_ = label_fingerprint(config, ontology, images)
    if workspace.is_current("label", print_) and workspace.labels.is_file():
        return up_to_date(workspace, "label")
    listener.say(describe(images))

    listener.say(f"Loading {in_words(config)}.")
    panel = load_panel(config, ontology, ontology.classes)
    warnings = [
        one for member in panel.members for one in prompt_warnings(member.teacher, ontology)
    ]
    for sentence in warnings:
        listener.warn(sentence)
    usable = images.filter(pl.col("status") == "ok")
    asked = ask(panel, usable, config, listener)
    images = with_failures(images, asked.failures)
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
    human = human_decisions(workspace, ontology)
    earlier = _earlier(workspace)
    with streamed_table(workspace.labels, LABELS) as table:
        for start in range(0, len(asked.ids), _BLOCK):
            rows = usable[start : start + _BLOCK]
            table.add(
                label_table(
                    asked.ids[start : start + _BLOCK].to_list(),
                    rows["path"].to_list(),
                    asked.answers(start, start + _BLOCK).together,
                    ontology,
                    min_confidence=config.label.min_confidence,
                    min_margin=config.label.min_margin,
                    human=human,
                )
            )
    undecided = pl.scan_parquet(workspace.labels).filter(pl.col("decision") != "accepted").collect()
    write_review(workspace.review, review_table(undecided, ontology), keep=ontology)
    labels = read_table(workspace.labels, LABELS, "label", ["class", "decision"])
    decisions = dict(labels.group_by("decision").len().iter_rows())
    statuses = dict(images.group_by("status").len().iter_rows())
    per_class = dict(labels.group_by("class").len().iter_rows())
    counts = {
        "found": len(images),
        "usable": len(usable),
        "duplicates": statuses.get("duplicate", 0),
        "unreadable": statuses.get("unreadable", 0),
        "embedded": asked.computed,
        "from_cache": asked.from_cache,
        "accepted": decisions.get("accepted", 0),
        "abstained": decisions.get("abstained", 0),
        "human": decisions.get("human", 0),
        "per_class": {name: per_class.get(name, 0) for name in ontology.classes},
        "classes": list(ontology.classes),
        "teacher": panel.name,
        "vectors_of": next(
            (m.teacher.fingerprint for m in panel.members if m.teacher.gives_vectors), None
        ),
        "warnings": warnings,
        "drift": _drift(workspace, asked, earlier, listener),
        "seconds_to_label": round(time.monotonic() - embedded, 3),  # with all vectors at hand
    }
    seconds = time.monotonic() - started
    workspace.finish("label", print_, counts, seconds)
    return StageResult("label", False, counts, seconds)


def _earlier(workspace: Workspace) -> pl.Series:
    """The ids that were labeled before."""
    if workspace.stamp("label") is None or not workspace.labels.is_file():
        return pl.Series("id", [], pl.String)
    return read_table(workspace.labels, LABELS, "label", ["id"])["id"]


def _drift(
    workspace: Workspace, asked: Asked, earlier: pl.Series, listener: Listener
) -> dict[str, Any] | None:
    """How the new images differ from the earlier ones; what was last said where none is new."""
    before = asked.ids.is_in(earlier.implode())
    new, old = asked.ids.filter(~before), asked.ids.filter(before)
    stamp = workspace.stamp("label")
    if new.is_empty() and stamp is not None:
        return stamp.counts.get("drift")
    if new.is_empty() or old.is_empty():
        return None
    from pipeline.labels.drift import drift

    labels = read_table(workspace.labels, LABELS, "label", ["id", "guess", "confidence"])
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
        changed = any(found[part] and found[part]["changed"] for part in _LOOKS)
        (listener.warn if changed else listener.say)(found["sentence"])
    return found


def scan_sources(
    config: Config,
    listener: Listener = SILENT,
    extract_frames: bool = True,
    verify: bool = False,
) -> pl.DataFrame:
    """Find and hash the config's images; files known from the last time are not opened again,
    unless `verify` asks for it.

    Raises:
        SourceError: a source holds nothing that can be used.
        WorkspaceError: frames of a video are not there yet, and `extract_frames` is off.
    """
    workspace = Workspace(config.workspace)
    stills, videos = sort_sources(config.sources)
    frames: list[FrameFile] = []
    damaged: dict[Path, str] = {}
    for video, sampling in videos:
        if not extract_frames and not has_frames(video, sampling, workspace.frames):
            raise WorkspaceError(f"The frames of {video} are not there. Run `clip2yolo label`.")
        with listener.bar(video.name, "seconds") as progress:
            try:
                found, problem = extract(
                    video, sampling, workspace.frames, config.max_pixels, progress
                )
            except SourceError as error:
                found, problem = [], str(error)
        frames += found
        if problem:
            damaged[video] = problem
            listener.warn(f"{video.name}: {problem}")
    if videos and extract_frames:
        forget_others(workspace.frames, frames)
    known = None
    if workspace.images.is_file() and not verify:
        try:
            known = read_table(workspace.images, IMAGES, "label")
        except WorkspaceError as error:
            listener.warn(f"{error} All images are hashed anew.")
    paths = find_images(stills) if stills else []
    with listener.bar("Scanning", "files") as progress:
        images = scan(
            [*paths, *(str(frame.path) for frame in frames)],
            known,
            progress=progress,
            max_pixels=config.max_pixels,
        )
    return with_damaged(with_frames(images, frames), damaged)
