"""The held-out images shown to the student, and to an exported model through its predict.py."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipeline.errors import SourceError, StudentError
from pipeline.export import predict
from pipeline.listener import Progress, no_progress
from pipeline.machine import cores
from pipeline.pixels import read_bytes
from pipeline.pool import work_ahead
from pipeline.storage.address import Place
from pipeline.storage.reading import as_file
from pipeline.student import Student

Item = TypeVar("Item")

_BATCH = 16
_ALONE = 8  # images that are also asked one at a time


@dataclass(frozen=True)
class Answers:
    """What somebody said of the held-out images; None for a picture that could not be read."""

    classes: tuple[str, ...]
    shares: list[np.ndarray | None]  # (classes,) each
    none: list[bool | None]  # whether it is none of the classes; None where that is not known


def ask_student(
    student: Student, paths: Sequence[Place], max_pixels: int, progress: Progress = no_progress
) -> Answers:
    """Return the student's answers, in PyTorch."""

    def read(path: Place) -> np.ndarray | None:
        try:
            return np.asarray(student.read(read_bytes(path), max_pixels))
        except SourceError:
            return None

    shares, features = _ask(read, student.see, paths, progress)
    known = student.unlike
    limit = None if known is None else known.threshold()
    if known is None or limit is None:
        return Answers(student.classes, shares, [None] * len(shares))
    return Answers(student.classes, shares, _beyond(features, known.scores, limit))


def ask_export(folder: Path, paths: Sequence[Place], progress: Progress = no_progress) -> Answers:
    """Return the answers of the model in a folder, through predict.py as whoever gets the folder
    has them: decoding included.

    Raises:
        StudentError: it cannot be opened, or answers with something else than probabilities.
    """
    model, shares, features = _ask_folder(folder, paths, progress)
    if model.threshold is None:
        return Answers(model.classes, shares, [None] * len(shares))
    return Answers(model.classes, shares, _beyond(features, model.unlike, model.threshold))


def features_of(folder: Path, paths: Sequence[Place]) -> np.ndarray:
    """Return what the model in a folder sees of pictures, (n, f), but for those that cannot be
    read.

    Raises:
        StudentError: as `ask_export`.
    """
    _, _, features = _ask_folder(folder, paths, no_progress)
    seen = [one for one in features if one is not None]
    return np.stack(seen) if seen else np.zeros((0, 0), np.float32)


def _ask_folder(
    folder: Path, paths: Sequence[Place], progress: Progress
) -> tuple[predict.Model, list[np.ndarray | None], list[np.ndarray | None]]:
    """The model in a folder, and what it gives for each file."""
    try:
        model = predict.load(folder, threads=cores())
    except predict.CannotAnswer as error:
        raise StudentError(str(error)) from error

    def read(path: Place) -> np.ndarray | None:
        try:
            with as_file(path) as file:
                return model.prepare(predict.read(file))
        except (predict.CannotAnswer, SourceError, OSError):
            return None

    def see(batch: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        try:
            shares, features = model.run(np.stack(batch))
        except predict.CannotAnswer as error:
            raise StudentError(str(error)) from error
        _refuse_nonsense(folder, shares, (len(batch), len(model.classes)))
        return shares, features

    return model, *_ask(read, see, paths, progress)


def _ask(
    read: Callable[[Place], np.ndarray | None],
    see: Callable[[Sequence[np.ndarray]], tuple[np.ndarray, np.ndarray]],
    paths: Sequence[Place],
    progress: Progress,
) -> tuple[list[np.ndarray | None], list[np.ndarray | None]]:
    """Probabilities and features of files in their order, the first ones asked alone, the others
    in batches; None where one cannot be read."""
    shares: list[np.ndarray | None] = []
    features: list[np.ndarray | None] = []
    with contextlib.closing(
        work_ahead(read, paths, workers=cores(), ahead=3 * _BATCH, name="decode")
    ) as ready:
        for some in _ones_then_batches(ready):
            readable = [picture for picture in some if picture is not None]
            left = zip(*see(readable), strict=True) if readable else iter(())
            for picture in some:
                share, feature = (None, None) if picture is None else next(left)
                shares.append(share)
                features.append(feature)
            progress(len(shares), len(paths))
    return shares, features


def _beyond(
    features: Sequence[np.ndarray | None], score: Callable[[np.ndarray], np.ndarray], limit: float
) -> list[bool | None]:
    """Whether each picture is none of the classes."""
    seen = [one for one in features if one is not None]
    found = iter((score(np.stack(seen)) > limit).tolist() if seen else ())
    return [None if one is None else next(found) for one in features]


def _ones_then_batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    each = iter(items)
    yield from ([one] for one in itertools.islice(each, _ALONE))
    while some := list(itertools.islice(each, _BATCH)):
        yield some


def _refuse_nonsense(folder: Path, shares: np.ndarray, shape: tuple[int, int]) -> None:
    if shares.shape != shape or not np.isfinite(shares).all():
        raise StudentError(f"{folder} answers with something that is no probability.")
    if np.abs(shares.sum(axis=1) - 1).max(initial=0) > 0.01 or shares.min(initial=0) < -0.01:
        raise StudentError(f"The answers of {folder} do not sum to 1.")
