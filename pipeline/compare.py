"""Several teachers on a sample of a run's images, one loaded at a time."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from pipeline.config import Config, TeacherConfig
from pipeline.errors import Clip2YoloError, SourceError, TeacherError
from pipeline.evaluation.audit.truth import audited_truth
from pipeline.evaluation.comparison import (
    Comparison,
    Contender,
    Failed,
    Seen,
    Shown,
    hold_together,
    sheet_of,
)
from pipeline.evaluation.contest import spread
from pipeline.evaluation.sample import check_truth, labeled_by_people
from pipeline.images.examples import read_examples
from pipeline.images.look import looked_at_aside
from pipeline.labels.decisions import match, read_decisions
from pipeline.labels.moved import look_at_folder, moved_by_hand
from pipeline.listener import SILENT, Listener, no_progress
from pipeline.records import TRUTH
from pipeline.run.stage import Run
from pipeline.teachers import bytes_of_weights, check_names, check_teacher, resolve
from pipeline.teachers.cache import EmbeddingCache
from pipeline.teachers.engines import engine_for
from pipeline.teachers.panel import Member, ask, panel_of, prompt_warnings
from pipeline.values import counted

_TIMED = 32  # images, where fewer than that had to be embedded anyway
_TOLD = 3  # warnings about one teacher
_MOST_ANSWERS = 1000  # answered images that are looked at; more are spread evenly


def compare(
    config: Config,
    teachers: Mapping[str, TeacherConfig],
    sample: int = 200,
    listener: Listener = SILENT,
) -> tuple[Comparison, Image.Image | None]:
    """Ask teachers about the same images, one after the other. Nothing of the run changes.

    The sample is spread evenly over the images in their order. Images that people have answered are
    asked about in addition: those of `truth` and `pool_truth`, or where the config names neither,
    those of an audit, or without one the run's decisions.

    Args:
        config: whose images, ontology, thresholds and answers.
        teachers: name → settings, at least one.
        sample: images, at least one.
        listener: told how it goes.

    Returns:
        The figures, and a picture of what they differ on; None where they do not differ.

    Raises:
        ConfigError: a name that its backend does not know, or settings that cannot be used; nothing
            has been read by then.
        SourceError: there is no image that all could read.
        TeacherError: none of them could be asked.
    """
    run = Run.of(config, listener)
    check_truth(run)
    failed: list[Failed] = []
    for name, settings in teachers.items():
        try:
            check_names(check_teacher(settings))
        except TeacherError as error:
            failed.append(Failed(name, str(error)))
    with looked_at_aside(run) as looked:
        for sentence in looked.left_out:
            listener.warn(sentence)
        usable = looked.images.filter(pl.col("status") == "ok").select("id", "path")
        if usable.is_empty():
            raise SourceError("None of the images can be read, so there is nothing to compare on.")
        chosen = usable[spread(len(usable), sample)]
        own = {_identity(settings) for settings in config.teachers}
        shown = Shown(
            len(usable),
            chosen,
            *_answered(run, looked.images),
            tuple(name for name, settings in teachers.items() if _identity(settings) in own),
        )
        seen = []
        for number, (name, settings) in enumerate(teachers.items(), start=1):
            if name in {one.name for one in failed}:
                continue
            listener.say(f"Teacher {number} of {len(teachers)}: {name}.")
            try:
                seen.append(_ask(run, name, settings, shown))
            except Clip2YoloError as error:  # also a prompt that is too long for this one
                failed.append(Failed(name, str(error)))
            _make_room()
        if not seen:
            raise TeacherError(
                *(f"{one.name} cannot be compared: {one.reason}" for one in failed),
                "None of the teachers could be asked, so there is nothing to compare.",
            )
        comparison = hold_together(shown, seen, failed, run.ontology.classes)
        return comparison, sheet_of(comparison, config.max_pixels)


def _identity(settings: TeacherConfig) -> tuple[str, str, str | None]:
    settings = resolve(settings)
    return settings.kind, settings.model, settings.pretrained


def _answered(run: Run, images: pl.DataFrame) -> tuple[pl.DataFrame, str | None]:
    """Images whose class people have said, with the schema `records.TRUTH`, and who says so."""
    if run.config.truth is not None or run.config.pool_truth is not None:
        found, source = labeled_by_people(run).sort("path"), "truth"
    elif len(audited := audited_truth(run)):
        # Drawn by chance, and so fairer than what was decided for its doubt.
        found, source = audited.sort("path"), "audit"
    else:
        space, ontology = run.workspace, run.ontology
        tables = [read_decisions(f, ontology) for f in (space.human, space.moved, space.review)]
        pulled, moved, filled_in = (match(table, images)[0] for table in tables)
        fresh = moved_by_hand(look_at_folder(space), ontology.dataset_classes)
        decided = pulled | moved | filled_in | fresh  # as labeling ranks them
        usable = images.filter(pl.col("status") == "ok").select("id", "path")
        said = pl.DataFrame(
            {"id": list(decided), "class": list(decided.values())},
            schema={"id": pl.String, "class": pl.String},
        )
        found, source = (
            usable.join(said, "id", maintain_order="left").select(list(TRUTH)),
            "decisions",
        )
    # A teacher is not judged on what it was shown.
    shown = read_examples(run.config).table["id"]
    found = found.filter(~pl.col("id").is_in(shown.implode()))
    if len(found) > _MOST_ANSWERS:
        run.listener.say(
            f"Of {len(found):,} answered images {_MOST_ANSWERS:,} are asked about, spread evenly."
        )
        found = found[spread(len(found), _MOST_ANSWERS)]
    return found, source if len(found) else None


def _ask(run: Run, name: str, settings: TeacherConfig, shown: Shown) -> Seen:
    images = shown.images
    config, ontology = run.config, run.ontology
    alone = config.model_copy(update={"teachers": [settings]})
    panel = panel_of(alone, ontology, ontology.classes, run.listener)
    sentences = prompt_warnings(panel, ontology)
    for sentence in sentences[:_TOLD]:
        run.listener.warn(sentence)
    if (more := len(sentences) - _TOLD) > 0:
        run.listener.warn(f"{counted(more, 'more sentence')} of that kind about {name}.")
    (member,) = panel.members
    started = time.monotonic()
    asked = ask(panel, images, config.max_pixels, run.listener)
    seconds = time.monotonic() - started
    if asked.failures:
        first = next(iter(asked.failures.values()))
        run.listener.warn(
            f"{name} could not read {counted(len(asked.failures), 'image')}, and all are compared "
            f"without. {first}"
        )
    probabilities = asked.answers().together
    rows = {image_id: row for row, image_id in enumerate(asked.ids.to_list())}
    if asked.computed < min(_TIMED, len(images)):
        timed, seconds = _time(member, images.head(_TIMED), config.max_pixels)
    else:
        timed = asked.computed
    own = probabilities[[rows[one] for one in shown.sample["id"] if one in rows]]
    ranked = np.sort(own, axis=1)[:, ::-1]
    label = config.label
    sure = (ranked[:, 0] >= label.min_confidence) & (
        ranked[:, 0] - ranked[:, 1] >= label.min_margin
    )
    teacher = member.teacher
    return Seen(
        Contender(
            name=name,
            teacher=teacher.name,
            parameters=teacher.parameters,
            file_bytes=teacher.file_bytes or bytes_of_weights(settings),
            device=teacher.device,
            precision=teacher.precision,
            images_per_second=round(timed / max(seconds, 1e-9), 2) if timed else None,
            confidence=round(float(ranked[:, 0].mean()), 4) if len(own) else 0.0,
            accepted=round(float(sure.mean()), 4) if len(own) else 0.0,
        ),
        rows,
        probabilities,
    )


def _time(member: Member, images: pl.DataFrame, max_pixels: int) -> tuple[int, float]:
    """Embed some images as labeling does, into a cache that is thrown away: how many, and the
    seconds that it took."""
    embed = engine_for(member.settings, len(images))
    with tempfile.TemporaryDirectory(prefix="clip2yolo-timed-") as folder:
        cache = EmbeddingCache(Path(folder), member.teacher.fingerprint)
        started = time.monotonic()
        embedded = embed(member, images, cache, max_pixels, no_progress)
        return embedded.computed, time.monotonic() - started


def _make_room() -> None:
    """Give back the memory of a teacher that nobody refers to any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
