"""Which images a student is judged on: those that it was neither trained nor chosen on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.errors import ConfigError, SourceError
from pipeline.evaluation.assess import HeldOut
from pipeline.evaluation.audit.truth import audited_truth, learned_by_student
from pipeline.images.examples import read_examples
from pipeline.images.truth import labeled_files, read_truth
from pipeline.records import IMAGES, read_table
from pipeline.run.stage import Run
from pipeline.student.stage import learned_by
from pipeline.values import counted

_TOLD = 5  # files that cannot be used, of which each is named
_LEARNED = "the student was trained or chosen on"
_SHOWN = "that the teacher was given as examples"


@dataclass
class Sample:
    """Images to evaluate on, while they are being chosen; `truth` has a class name for each."""

    ids: list[str]
    paths: list[str]  # places, see `pipeline.storage`
    truth: list[str] | None
    source: str
    excluded: dict[str, int] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)  # images of a class that no student has

    def keep(self, kept: Sequence[bool], reason: str) -> None:
        """Leave out the images that are not kept, and count them under the reason."""
        missing = len(kept) - sum(kept)
        if missing:
            self.excluded[reason] = self.excluded.get(reason, 0) + missing
        self.ids = [image_id for image_id, keep in zip(self.ids, kept, strict=True) if keep]
        self.paths = [path for path, keep in zip(self.paths, kept, strict=True) if keep]
        if self.truth is not None:
            self.truth = [name for name, keep in zip(self.truth, kept, strict=True) if keep]

    def table(self, most: int | None = None) -> pl.DataFrame:
        """Return the images, or the first of them, with columns id and path."""
        columns = {"id": self.ids[:most], "path": self.paths[:most]}
        return pl.DataFrame(columns, {"id": pl.String, "path": pl.String})

    def held_out(self, classes: Sequence[str]) -> HeldOut:
        """Return the sample as it is compared on; class indices follow `classes`."""
        truth = None if self.truth is None else np.array([classes.index(n) for n in self.truth])
        return HeldOut(self.ids, self.paths, truth, self.source, self.excluded)


def choose_sample(run: Run, plan: pl.DataFrame) -> Sample:
    """Return the images of `truth` without those that the student was trained or chosen on; where
    the config names no truth, those of an audit, and without one the dataset's own test split.

    Args:
        run: whose truth.
        plan: dataset.parquet.

    Raises:
        ConfigError: the truth names a class that the ontology lacks.
        SourceError: no image is left.
    """
    audited = _audited(run) if run.config.truth is None else None
    if run.config.truth is None and audited is None:
        run.listener.warn(
            "The config names no `truth`: agreement is measured, accuracy cannot be. `clip2yolo "
            "audit` asks for a hundred answers and says how right labels, teacher and student are."
        )
        test = plan.filter(pl.col("split") == "test")
        sample = Sample(
            test["id"].to_list(), test["path"].to_list(), None, "the dataset's test split"
        )
    else:
        if audited is not None:
            table, source = audited, "the audit"
        else:
            assert run.config.truth is not None
            table, source = _read_known(run, run.config.truth), str(run.config.truth)
        names = table["class"].to_list()
        paths = table["path"].to_list()
        sample = Sample(table["id"].to_list(), paths, names, source)
        known = set(run.ontology.dataset_classes)
        sample.others = [path for path, name in zip(paths, names, strict=True) if name not in known]
        sample.keep(
            [name in known for name in names],
            "of the background class, which the dataset leaves out",
        )
        learned = set(learned_by(run, plan)["id"])
        sample.keep([image_id not in learned for image_id in sample.ids], _LEARNED)
        shown = set(read_examples(run.config).table["id"])
        sample.keep([image_id not in shown for image_id in sample.ids], _SHOWN)
    refuse_nothing(sample)
    return sample


def _audited(run: Run) -> pl.DataFrame | None:
    """The images of an audit that the student has not learned from; None where there are none."""
    table = audited_truth(run)
    if table.is_empty():
        return None
    learned = learned_by_student(run)
    fresh = table.clear() if learned is None else table.filter(~pl.col("id").is_in(list(learned)))
    fresh = fresh.filter(pl.col("class").is_in(list(run.ontology.dataset_classes)))
    if fresh.is_empty():
        run.listener.warn(
            f"The student has learned from the {counted(len(table), 'audited image')}, so they "
            "cannot judge it. Run `clip2yolo run`, which trains it without them."
        )
        return None
    return table


def refuse_nothing(sample: Sample, remedy: str = "or label more images") -> None:
    """Refuse a sample that has lost all of its images.

    Raises:
        SourceError: it has; what else than another truth would help is said, too.
    """
    if not sample.ids:
        why = "".join(f" ({count} {reason})" for reason, count in sample.excluded.items())
        raise SourceError(
            f"No image is left to evaluate on: {sample.source} holds none{why}. Give `truth:` a "
            f"labeled folder of other images, {remedy}."
        )


def films_of(run: Run, paths: Sequence[str]) -> list[str | None]:
    """Return the path of the film that each image is a frame of; None of stills, and of images that
    are none of the run's own.

    Raises:
        WorkspaceError: the table of the run's images is damaged.
    """
    if not run.workspace.images.is_file():
        return [None] * len(paths)
    known = read_table(run.workspace.images, IMAGES, "label", ["path", "video"])
    frames = known.filter(pl.col("video").is_not_null()).unique("path")
    asked = pl.DataFrame({"path": paths}, {"path": pl.String})
    films: list[str | None] = asked.join(frames, "path", "left", maintain_order="left")[
        "video"
    ].to_list()
    return films


def check_truth(run: Run) -> None:
    """Refuse a truth that is not there, or that has a class of its own. No image is opened.

    Raises:
        ConfigError: it is not there, or a class is none of the ontology.
        SourceError: its folders or its table are not as they should be.
    """
    for path in (run.config.truth, run.config.pool_truth):
        if path is not None:
            _refuse_unknown(run, path, {name for _, name in labeled_files(path, _folders(run))})


def known_truth(run: Run) -> dict[str, str]:
    """Return id → class for every image that a person has labeled, to judge the labels by.

    Raises:
        ConfigError: a class is none of the ontology.
    """
    return dict(labeled_by_people(run).select("id", "class").iter_rows())


def labeled_by_people(run: Run) -> pl.DataFrame:
    """Return every image of an audit, of `truth` and of `pool_truth`, once, with the schema
    `records.TRUTH`.

    Raises:
        ConfigError: a class is none of the ontology.
    """
    places = [path for path in (run.config.truth, run.config.pool_truth) if path is not None]
    tables = [audited_truth(run), *(_read_known(run, path) for path in places)]
    return pl.concat(tables).unique("id", keep="last", maintain_order=True)


def _read_known(run: Run, path: Path) -> pl.DataFrame:
    """Read a person's labels (see `read_truth`); what cannot be used is told.

    Raises:
        ConfigError: a class is none of the ontology.
    """
    table, problems = read_truth(path, run.config.max_pixels, _folders(run))
    for sentence in problems[:_TOLD]:
        run.listener.warn(sentence)
    if len(problems) > _TOLD:
        run.listener.warn(
            f"{counted(len(problems) - _TOLD, 'more file')} of {path} cannot be used."
        )
    _refuse_unknown(run, path, set(table["class"]))
    return table


def _folders(run: Run) -> list[Path]:
    places = [source.path for source in run.config.sources]
    return [place for place in places if isinstance(place, Path) and place.is_dir()]


def _refuse_unknown(run: Run, path: Path, classes: set[str]) -> None:
    unknown = sorted(classes - set(run.ontology.classes))
    if unknown:
        raise ConfigError(
            f"{path} has the class {unknown[0]!r}, which the ontology does not have "
            f"({', '.join(run.ontology.classes)}). Rename it there, or add a prompt for it."
        )
