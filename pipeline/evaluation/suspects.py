"""Which images of a dataset hurt its student: labels that look wrong once it has learned them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.config import SpaceConfig
from pipeline.dataset.sharded import read_sharded
from pipeline.evaluation.label_record import Suspect, SuspectFigures
from pipeline.files import replacing, stacked
from pipeline.labels.around import around
from pipeline.labels.doubt import doubt_in
from pipeline.labels.stage import LABEL
from pipeline.records import LABELS, SUSPECTS, read_table, write_table
from pipeline.run.stage import Run
from pipeline.spaces.see import Seen, see
from pipeline.student.card import read_card
from pipeline.student.stage import learned_by

_BLOCK = 20_000  # vectors copied together
_LEAST = 3  # images; with fewer there is nothing to compare
# What is taken of labels.parquet.
_KNOWN = [
    *("id", "class", "guess", "decision", "doubt"),
    *("plain", "plain_confidence", "probabilities"),
]


def find_suspects(run: Run, plan: pl.DataFrame) -> pl.DataFrame:
    """Write suspects.parquet, and return it: the accepted labels that a student has learned or was
    chosen by, the likeliest errors first.

    A label's doubt was found where the teacher sees; here the same is asked where the trained
    student sees, and the ranks by the two are averaged. The student's own answer is left out: it
    has learned the label, right or wrong. What a person decided is no suspect, but speaks for what
    looks like it, and so do undecided images that were learned.

    Args:
        run: which has been labeled, and has a student.
        plan: dataset.parquet.

    Returns:
        A table with the schema `records.SUSPECTS`. Images that cannot be read are not in it.

    Raises:
        WorkspaceError: there are no labels.
        StudentError: the student's files are damaged.
    """
    run.listener.say("Looking for labels that are likely wrong, by what the student sees.")
    stamp = LABEL.stamp(run.workspace)
    known = run.ontology.classes if stamp is None else stamp.counts.classes
    classes = [name for name in read_card(run.workspace.student).classes if name in known]
    images = _images(run, plan, classes)
    with replacing(run.workspace.suspects) as aside:
        # The vectors lie beside the table: what a kill leaves there is swept away.
        seen = _see(run, images, aside.parent / "seen")
        images = images.filter(~pl.col("id").is_in(list(seen.failures)))
        found = pl.DataFrame(schema=SUSPECTS)
        if len(images) >= _LEAST:
            found = _judge(images, _vectors(seen, images["id"], run), known, classes)
        write_table(aside, found)
    return found


def suspect_figures(suspects: pl.DataFrame, truth: Mapping[str, str], shown: int) -> SuspectFigures:
    """Return the likeliest errors, and how many of them are wrong where a person's labels exist.

    Args:
        suspects: with the schema `records.SUSPECTS`, the likeliest errors first.
        truth: id → class, for any of the images.
        shown: how many are told, at most.
    """
    worst = [
        Suspect(
            row["id"],
            row["path"],
            row["class"],
            row["suspicion"],
            row["neighbours"],
            row["rival"],
            row["rival_share"],
            truth.get(row["id"]),
        )
        for row in suspects.head(shown).iter_rows(named=True)
    ]
    known = [one for one in worst if one.truth is not None]
    wrong = sum(one.truth != one.class_name for one in known)
    return SuspectFigures(len(suspects), len(worst), len(known), wrong, worst)


def _images(run: Run, plan: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """The images that were learned, with the columns `_KNOWN`, path, `there` (where it can be read)
    and group. What is of a class that the student does not know is not among them."""
    labels = read_table(run.workspace.labels, LABELS, "label", _KNOWN)
    placed = plan.select("id", "group").with_columns(there=_places(run, plan["file"]))
    learned = learned_by(run, plan).unique("id", maintain_order=True)
    rows = learned.join(labels, "id", maintain_order="left")
    rows = rows.join(placed, "id", "left", maintain_order="left")
    return rows.with_columns(
        there=pl.coalesce("there", "path"),
        group=pl.coalesce("group", "id"),
        label=pl.coalesce("class", "guess"),
    ).filter(pl.col("label").is_in(classes))


def _places(run: Run, files: pl.Series) -> pl.Series:
    """Where the dataset has its images: in its folder, or in shards."""
    shards = read_sharded(run.workspace)
    if shards is None:
        return f"{run.workspace.dataset}/" + files
    places = shards.places()
    found = [str(places[file]) if file in places else None for file in files]
    return pl.Series(found, dtype=pl.String)


def _see(run: Run, images: pl.DataFrame, kept: Path) -> Seen:
    """Show images to the student, at the size at which it has learned."""
    settings = run.config.student
    space = SpaceConfig(
        kind="student",
        model=str(run.workspace.weights.absolute()),
        size=read_card(run.workspace.student).imgsz,
        device=settings.device.split(",")[0],  # evaluation computes on one
    )
    read = images.select("id", path="there")
    return see(space, settings, read, run.config.max_pixels, run.listener, kept)


def _vectors(seen: Seen, ids: pl.Series, run: Run) -> np.ndarray:
    """What the student sees (n, dim) float16; of many images a map of a file."""
    parts = (
        seen.vectors(ids[start : start + _BLOCK].to_list()).astype(np.float16)
        for start in range(0, len(ids), _BLOCK)
    )
    return stacked(parts, len(ids), run.workspace.root)


def _judge(
    images: pl.DataFrame, vectors: np.ndarray, known: Sequence[str], classes: Sequence[str]
) -> pl.DataFrame:
    """The suspects among images, from what the student sees of each.

    Args:
        images: from `_images`.
        vectors: (n, dim).
        known: the classes of the probabilities in labels.parquet.
        classes: of the student, among those.
    """
    labels = _numbers(images["label"], classes)
    believed, plain = _believed(images, labels, known, classes), _plain(images, classes)
    votes = images.select((1 / pl.len().over("group")).cast(pl.Float32)).to_series().to_numpy()
    near = around(vectors, votes)
    doubts = doubt_in(near, vectors, believed, plain, labels, votes)
    accused = np.flatnonzero((images["decision"] == "accepted").to_numpy())
    at = (np.arange(len(accused)), labels[accused])
    alike = near.mean(believed)[accused]
    mine = alike[at]
    alike[at] = -1.0
    rows, doubts = images[accused], doubts[accused]
    return (
        rows.with_columns(
            suspicion=_mean_rank(rows["doubt"].fill_nan(1.0).to_numpy(), doubts),
            student_doubt=doubts,
            neighbours=mine,
            rival=pl.Series(classes, dtype=pl.String).gather(alike.argmax(axis=1)),
            rival_share=alike.max(axis=1),
        )
        .sort("suspicion", "id", descending=[True, False])
        .select(pl.col(name).cast(kind) for name, kind in SUSPECTS.items())
    )


def _believed(
    images: pl.DataFrame, labels: np.ndarray, known: Sequence[str], classes: Sequence[str]
) -> np.ndarray:
    """What each image is believed to be, (n, classes) float32; what a person decided is certain."""
    flat = images["probabilities"].explode().to_numpy().reshape(len(images), len(known))
    shares: np.ndarray = np.maximum(flat[:, [known.index(name) for name in classes]], 1e-6)
    human = np.flatnonzero((images["decision"] == "human").to_numpy())
    shares[human] = np.eye(len(classes), dtype=np.float32)[labels[human]]
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _plain(images: pl.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """What the words say of each image, (n, classes) float32, as far as it was kept: of the
    likeliest class; the others share the rest."""
    sure = images["plain_confidence"].to_numpy().astype(np.float32)
    rest = (1 - sure) / max(len(classes) - 1, 1)
    shares = np.repeat(rest[:, np.newaxis], len(classes), axis=1)
    likeliest = _numbers(images["plain"], classes)
    rows = np.flatnonzero(likeliest >= 0)
    shares[rows, likeliest[rows]] = sure[rows]
    return shares


def _numbers(names: pl.Series, classes: Sequence[str]) -> np.ndarray:
    """The place of each name among the classes, (n,) int64; -1: it is none."""
    places = {name: number for number, name in enumerate(classes)}
    found: np.ndarray = names.replace_strict(places, default=-1, return_dtype=pl.Int64).to_numpy()
    return found


def _mean_rank(*signs: np.ndarray) -> np.ndarray:
    """The mean of each image's ranks by several signs, (n,) from 0 to 1: the share of the images
    with less of it, those with as much counting half."""
    total = np.zeros(len(signs[0]))
    for sign in signs:
        ordered = np.sort(sign)
        total += np.searchsorted(ordered, sign, "left") + np.searchsorted(ordered, sign, "right")
    return total / (2 * len(signs) * max(len(total), 1))
