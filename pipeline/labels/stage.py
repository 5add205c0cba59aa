"""`label`: find the images, ask the teacher, decide."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl

from pipeline.errors import SourceError
from pipeline.files import fingerprint
from pipeline.images.examples import read_examples
from pipeline.images.look import extract_frames, look_at_images
from pipeline.images.scan import describe, with_failures
from pipeline.labels.answers import heard, read_answers
from pipeline.labels.basis import basis_of
from pipeline.labels.counts import LabelCounts, LabelInputs
from pipeline.labels.decisions import decisions_of, match, read_decisions
from pipeline.labels.drift import Drift, drift
from pipeline.labels.gather import (
    beside_of,
    examples_among,
    refuse_impossible,
    seen_by_space,
    verdicts_on,
)
from pipeline.labels.moved import look_at_folder, moved_by_hand
from pipeline.labels.notices import tell
from pipeline.labels.sampling import keep_sample
from pipeline.labels.steady import MANY, Earlier, changed_sentence, moved_since
from pipeline.labels.write import write_labels
from pipeline.records import LABELS, digest_of_columns, read_table, write_table
from pipeline.run.place import without_place
from pipeline.run.stage import Run, Stage
from pipeline.spaces import check_space, check_space_names
from pipeline.teachers import check_names, check_teacher
from pipeline.teachers.engines import check_engine
from pipeline.teachers.panel import Asked, ask, in_words, load_panel, prompt_warnings
from pipeline.values import counted

_LOOKED_AT = 2000  # vectors of new images, and of earlier ones, to see a drift


def _check(run: Run) -> None:
    stamp = LABEL.stamp(run.workspace)
    for settings in map(check_teacher, run.config.teachers):
        # Whoever has labeled before can be loaded; to look names up takes seconds of importing.
        words = (settings.model.removeprefix("local-dir:"), settings.pretrained or "")
        if stamp is None or not all(Path(word).name in stamp.counts.teacher for word in words):
            check_names(settings)
    check_engine(run.config.label, [*run.config.teachers])
    space, student = run.config.label.space, run.config.student
    if space is not None:
        checked = check_space(space, student)
        if stamp is None or Path(checked.model).name not in (stamp.counts.space or ""):
            check_space_names(space, student)


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
    # What was moved since the last time is the newest of all; of the others, what was filled in in
    # the review file stands over what was moved, and that over what came from Roboflow. An answer
    # of the review page stands over all that was there when it was given.
    answers = heard(
        read_answers(space.said), pulled | moved | filled_in | fresh, images["id"], ontology.classes
    )
    decided = answers.decided
    notes += answers.notes
    shown = examples_among(examples.table, images)
    if other := [one for one, name in shown.items() if decided.get(one, name) != name]:
        notes.append(
            f"{counted(len(other), 'image')} of `examples` got another class by a person's "
            f"decision, which stands (among them an example of {shown[other[0]]!r})."
        )
    return LabelInputs(
        images,
        notes,
        human=shown | decided,
        shown=[one for one in shown if one not in decided],
        filled_in=[one for one in filled_in if one not in answers.answered],
        answered=answers.answered,
        nothing=answers.nothing,
        moved=pl.concat([decisions_of(moved | fresh, images), moved_absent]),
        examples=examples,
    )


def _digest(run: Run, inputs: LabelInputs) -> str:
    """Name what the labels depend on: pictures, prompts, teacher, thresholds, human decisions."""
    places = inputs.images.with_columns(without_place(run, inputs.images["path"]))
    return fingerprint(digest_of_columns(places, "path", "id"), basis_of(run, inputs))


def _work(run: Run, inputs: LabelInputs) -> LabelCounts:
    config, ontology, workspace, listener = run.config, run.ontology, run.workspace, run.listener
    listener.say(describe(inputs.images))
    for sentence in inputs.notes:
        listener.warn(sentence)
    listener.say(f"Loading {in_words(config.teachers)}.")
    panel = load_panel(
        config.teachers,
        ontology,
        ontology.classes,
        listener,
        inputs.examples.table,
        config.max_pixels,
    )
    refuse_impossible(panel, config.label)
    doubts = prompt_warnings(panel, ontology)
    for sentence in doubts:
        listener.warn(sentence)
    usable = inputs.images.filter(pl.col("status") == "ok")
    asked = ask(panel, usable, config.max_pixels, listener, label=config.label)
    beside = beside_of(run, panel, usable)
    seen = seen_by_space(run, panel, usable, beside, asked)
    failures = asked.failures | {one: why for each in seen for one, why in each.failures.items()}
    asked, beside = asked.without(failures), beside.filter(~pl.col("id").is_in(list(failures)))
    images = with_failures(inputs.images, failures)
    if failures:
        listener.warn(describe(images))
    write_table(workspace.images, images)
    usable = images.filter(pl.col("status") == "ok")
    if usable.is_empty():
        raise SourceError(
            f"None of the {len(images)} images found can be read, so there is nothing to label. "
            f"{workspace.images} says why for each."
        )
    embedded = time.monotonic()
    stamp, basis = LABEL.stamp(workspace), basis_of(run, inputs)
    earlier = None
    if stamp is not None and workspace.labels.is_file():
        earlier = Earlier.read(workspace.labels)
    steady = earlier if stamp is not None and stamp.counts.basis == basis else None
    verdicts = verdicts_on(run, asked, seen, usable, beside, inputs.human, steady)
    write_labels(run, usable, verdicts, inputs)
    keep_sample(run, usable, used=verdicts.sampled > 0)
    seconds = round(time.monotonic() - embedded, 3)
    labels = read_table(workspace.labels, LABELS, "label", ["id", "class", "decision", "moved"])
    decisions = dict(labels.group_by("decision").len().iter_rows())
    statuses = dict(images.group_by("status").len().iter_rows())
    per_class = dict(labels.group_by("class").len().iter_rows())
    before, changed = (0, 0) if earlier is None else moved_since(labels, earlier)
    counts = LabelCounts(
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
        seconds_to_label=seconds,
        sampled=verdicts.sampled,
        refined=verdicts.refined,
        why=verdicts.why,
        weights=verdicts.weights,
        space=seen[0].name if seen else None,
        moved=int(labels["moved"].sum()),
        rejected=verdicts.rejected,
        limit=verdicts.limit,
        labeled_before=before,
        changed=changed,
        kept=int(verdicts.kept.sum()),
        notices=tell(run, verdicts.notices, [*usable["path"].to_list(), *beside["path"].to_list()]),
        basis=basis,
    )
    listener.say(counts.why)
    if changed:
        many = steady is not None and changed > MANY * before
        (listener.warn if many else listener.say)(
            changed_sentence(changed, before, steady is not None)
        )
    return counts


def _drift(run: Run, asked: Asked, earlier: Earlier | None) -> Drift | None:
    """How the new images differ from the earlier ones; what was last said where none is new."""
    known = pl.Series([], dtype=pl.String) if earlier is None else earlier.labels["id"]
    before = asked.ids.is_in(known.implode())
    new, old = asked.ids.filter(~before), asked.ids.filter(before)
    stamp = LABEL.stamp(run.workspace)
    if new.is_empty() and stamp is not None:
        return stamp.counts.drift
    if new.is_empty() or old.is_empty():
        return None
    # What the teacher says of each image alone: the other images have no part in how it looks.
    labels = read_table(run.workspace.labels, LABELS, "label", ["id", "plain", "plain_confidence"])
    labels = labels.rename({"plain": "guess", "plain_confidence": "confidence"})
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
    makes=lambda space: (space.images, space.frames, space.labels, space.sample, space.notices),
    summary=lambda counts: (
        f"{counted(counts.usable, 'image')}: {counts.accepted:,} accepted, "
        f"{counts.abstained:,} abstained"
    ),
)
