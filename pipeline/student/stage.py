"""`train`: the student learns the exported dataset."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.config import SpaceConfig, StudentConfig
from pipeline.dataset.nearby import brought_here
from pipeline.dataset.sharded import Sharded, read_sharded
from pipeline.errors import ConfigError, DeviceError, StudentError, WorkspaceError
from pipeline.files import fingerprint
from pipeline.labels.again import look_again, seen_again, sight_of, words_again
from pipeline.labels.moved import look_at_folder
from pipeline.listener import Listener
from pipeline.machine import check_device, pick_device
from pipeline.records import BELIEFS, DATASET, digest_of_columns, read_table
from pipeline.run.stage import Run, Stage
from pipeline.spaces.see import identity_of
from pipeline.student.card import read_card
from pipeline.student.epochs import EpochReport
from pipeline.student.kept import Students
from pipeline.student.lessons import Lessons, balance_sentence, learned_images, skew_warning
from pipeline.student.precision import pick_precision
from pipeline.student.settings import check_settings, trained_with, training_digest
from pipeline.student.train import TrainResult, train
from pipeline.student.unlike import FILE as UNLIKE
from pipeline.values import counted


def _check(run: Run) -> None:
    settings = run.config.student
    check_device(settings.device, "student.device")
    if settings.precision == "bf16":
        try:
            pick_precision(settings.precision, pick_device(settings.device))
        except DeviceError as error:
            raise ConfigError(str(error)) from error
    # What a student has been trained with is known to work, and ultralytics takes long to load.
    with contextlib.suppress(StudentError):
        if read_card(run.workspace.student).trained_with == trained_with(settings):
            return
    try:
        check_settings(settings)
    except StudentError as error:
        raise ConfigError(str(error)) from error


@dataclass(frozen=True)
class TrainInputs:
    """What a student is made from."""

    plan: pl.DataFrame  # dataset.parquet
    beliefs: pl.DataFrame | None  # beliefs.parquet, where the student learns it
    shards: Sharded | None = None  # where the dataset lies in shards

    @property
    def classes(self) -> list[str]:
        """Those that there are images of, in the order in which folders are numbered."""
        return sorted(self.plan["class"].unique())


def _look(run: Run) -> TrainInputs:
    space = run.workspace
    state = look_at_folder(space)
    if state is not None and not state.whole:
        raise WorkspaceError(
            f"{space.dataset} is not as it was exported: files were moved, changed or "
            "removed. Run `clip2yolo label`: what was moved counts as decided by you, and what is "
            "missing or damaged is written again."
        )
    plan = read_table(space.dataset_table, DATASET, "label")
    shards = read_sharded(space)
    if shards is not None:
        _refuse_incomplete(shards, plan)
    soft = run.config.student.distill == "soft"
    return TrainInputs(plan, read_table(space.beliefs, BELIEFS, "label") if soft else None, shards)


def _refuse_incomplete(shards: Sharded, plan: pl.DataFrame) -> None:
    if not plan.join(shards.table, ["id", "file"], "anti").is_empty():
        raise WorkspaceError(
            "The shards of the dataset are not those of dataset.parquet. Run `clip2yolo label`."
        )
    if lacking := shards.lacking():
        more = f" and {len(lacking) - 1:,} more shards are" if len(lacking) > 1 else " is"
        raise WorkspaceError(
            f"{lacking[0]}{more} not as exported: changed, or not there any more. Run `clip2yolo "
            "label`: it writes again what is missing."
        )


def _digest_with(run: Run, inputs: TrainInputs, settings: StudentConfig) -> str:
    pictures = digest_of_columns(inputs.plan.select("file", "id").sort("file"), "file", "id")
    named = training_digest(pictures, settings, inputs.classes, inputs.beliefs)
    space = sight_of(run.config)
    if space is None or settings.distill == "hard":
        return named
    return fingerprint(named, identity_of(space, run.config.student))


def _digest(run: Run, inputs: TrainInputs) -> str:
    """Name what the student depends on: pictures, their classes and splits, what is believed of
    them, the settings."""
    return _digest_with(run, inputs, run.config.student)


def _work(run: Run, inputs: TrainInputs) -> TrainResult:
    classes, space = inputs.classes, run.workspace
    if len(classes) < 2:
        raise StudentError(
            f"All images of the dataset are of one class ({', '.join(classes)}), so there is "
            "nothing to tell apart. Add images of another, reword its prompts, or lower "
            "`label.min_confidence`."
        )
    settings = _from_promoted(run, classes)
    places = None if inputs.shards is None else brought_here(inputs.shards, run.listener)
    with _Bar(run.listener) as bar:
        return train(
            space.dataset,
            space.student,
            settings,
            classes,
            digest=_digest_with(run, inputs, settings),
            files=inputs.plan["file"].to_list(),
            places=places,
            beliefs=inputs.beliefs,
            max_pixels=run.config.max_pixels,
            on_epoch=bar.on_epoch,
            say=run.listener.say,
            on_lessons=lambda lessons: _tell(run, lessons, classes),
            onlooker=_Onlooker(run, settings, classes, bar),
        )


class _Bar:
    """The bar of epochs, which can go while others are shown: only one can be at a time."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self._shown = listener, contextlib.ExitStack()

    def __enter__(self) -> _Bar:
        self._progress = self._shown.enter_context(self._listener.bar("Training", "epochs"))
        return self

    def __exit__(self, *failure: object) -> None:
        self._shown.close()

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """Without it."""
        self._shown.close()
        yield
        self.__enter__()

    def on_epoch(self, report: EpochReport) -> None:
        """Move it, and tell the listener."""
        self._progress(report.epoch, report.epochs)
        self._listener.epoch(report)


@dataclass(frozen=True)
class _Onlooker:
    """What the teachers and a student see of a labeled run: a `rounds.Onlooker`."""

    run: Run
    settings: StudentConfig
    classes: list[str]
    bar: _Bar

    def by_space(self) -> tuple[list[str], np.ndarray] | None:
        if sight_of(self.run.config) is None:
            return None
        with self.bar.gone():
            return seen_again(self.run)

    def by_words(self) -> pl.DataFrame:
        with self.bar.gone():
            return words_again(self.run, self.classes)

    def by_student(self, weights: Path, kept: Path) -> pl.DataFrame:
        with self.bar.gone():
            return look_again(self.run, _sight(self.settings, weights), kept, self.classes)


def _sight(settings: StudentConfig, weights: Path) -> SpaceConfig:
    """A student's features as a space, at the size at which it sees."""
    return SpaceConfig(
        kind="student",
        model=str(weights.absolute()),
        size=settings.imgsz,
        device=settings.device,
    )


def _tell(run: Run, lessons: Lessons, classes: list[str]) -> None:
    """Say what is learned beyond the labels, and how rare classes are treated."""
    balance = run.config.student.balance
    if lessons.undecided:
        run.listener.say(
            f"The student also learns what is believed of {counted(lessons.undecided, 'image')} "
            "without a label."
        )
    if balance != "none":
        run.listener.say(balance_sentence(lessons, classes, balance))
    elif sentence := skew_warning(lessons, classes):
        run.listener.warn(sentence)


def learned_by(run: Run, plan: pl.DataFrame) -> pl.DataFrame:
    """Return the images that the student was trained or chosen on, or would be where there is none
    yet; columns id and path.

    Args:
        run: whose student.
        plan: dataset.parquet, which it was trained on.

    Raises:
        StudentError: its card is damaged.
        WorkspaceError: it learned what is believed of images, and nobody can tell of which.
    """
    settings = run.config.student.model_dump()
    if run.workspace.student.is_dir():
        settings = read_card(run.workspace.student).trained_with
    soft = settings.get("distill") == "soft"
    beliefs = read_table(run.workspace.beliefs, BELIEFS, "label") if soft else None
    return learned_images(plan, beliefs)


def _from_promoted(run: Run, wanted: list[str]) -> StudentConfig:
    """The settings, with the student in use as the model to start from where that was asked for."""
    settings, listener = run.config.student, run.listener
    if settings.start == "scratch":
        return settings
    promoted = Students(run.workspace.students).promoted
    if promoted is None:
        listener.say(f"No student is promoted yet, so this one starts from {settings.model}.")
        return settings
    classes = read_card(promoted).classes
    if set(classes) != set(wanted):
        listener.warn(
            f"The promoted student {promoted.name} knows other classes "
            f"({', '.join(classes)}), so this one starts from {settings.model}."
        )
        return settings
    listener.say(f"Starting from the promoted student {promoted.name}.")
    return settings.model_copy(update={"model": str(promoted.absolute() / "weights.pt")})


TRAIN = Stage(
    name="train",
    command="train",
    counts=TrainResult,
    check=_check,
    look=_look,
    digest=_digest,
    leaves=lambda run: (
        run.workspace.weights,
        run.workspace.student / "student.json",
        run.workspace.student / UNLIKE,
    ),
    work=_work,
    makes=lambda space: (space.student,),
    summary=lambda counts: (
        f"{counted(counts.epochs, 'epoch')}, {counts.valid_top1:.1%} agreement on valid"
    ),
)
