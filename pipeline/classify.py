"""Asking about single pictures: files, folders, globs, addresses, standard input."""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pipeline.errors import SourceError, describe_os_error
from pipeline.files import expanded
from pipeline.images.fetch import NOTHING_AHEAD, Ahead, fetch, is_web_address
from pipeline.images.sources import find_images
from pipeline.ontology import Ontology
from pipeline.pixels import MAX_PIXELS, read_bytes
from pipeline.records import Predictor
from pipeline.storage.address import Place, is_address
from pipeline.teachers.panel import Panel

if TYPE_CHECKING:
    from pipeline.student import Refusing

Found = TypeVar("Found")

_BATCH = 32


@dataclass(frozen=True)
class Row:
    """One possible answer: a prompt, the examples of a class without words, or for a student a
    class."""

    text: str
    class_name: str
    similarity: float | None  # cosine with a prompt; None where there is none, or several differ
    probability: float


@dataclass(frozen=True)
class Answer:
    """What was found on one picture; `rows` with the most probable first, or why there are none."""

    image: str
    rows: tuple[Row, ...] = ()
    problem: str | None = None
    unlike: float | None = None  # any of a student's classes, 0 to 1; None where it is not known
    none: bool = False  # whether it is too much for any of them to be the answer


def check_there(images: Sequence[str]) -> None:
    """Refuse names of files that lead nowhere, before whoever is to answer is loaded.

    Raises:
        SourceError: there is no such file, or nothing that fits a pattern.
    """
    for name in images:
        if name != "-" and not is_web_address(name) and not is_address(name):
            path = expanded(Path(name))
            if not os.path.lexists(path):  # of what is there, it is said when its turn comes
                _found(path)


def classify_with_teachers(
    images: Sequence[str],
    panel: Panel,
    ontology: Ontology,
    max_pixels: int = MAX_PIXELS,
    ahead: Ahead = NOTHING_AHEAD,
) -> Iterator[Answer]:
    """Yield an answer for each picture, over the prompts of the ontology, and the examples of its
    classes that have none.

    Args:
        ahead: what was begun to be fetched of `images` while the teachers were loaded.

    Raises:
        SourceError: one of `images` names nothing.
    """
    pictures = _pictures(images, panel, max_pixels, ahead)
    first = list(itertools.islice(pictures, 2))
    alone = len(first) == 1 and len(ontology.templates) == 1 and not ontology.examples
    answers = list(zip(ontology.answers, ontology.answer_classes, strict=True))
    for batch in _batches(itertools.chain(first, pictures)):
        readable = [picture.prepared for picture in batch if picture.problem is None]
        if readable:
            together, cosines = _ask(panel, readable, ontology.sentences if alone else None)
        row = itertools.count()
        for picture in batch:
            if picture.problem is not None:
                yield Answer(picture.name, problem=picture.problem)
                continue
            at = next(row)
            rows = (
                Row(
                    text,
                    ontology.classes[of_class],
                    float(cosines[at, number])
                    if cosines is not None and number < len(ontology.prompts)
                    else None,
                    float(together[at, number]),
                )
                for number, (text, of_class) in enumerate(answers)
            )
            yield Answer(picture.name, _sorted(rows))


def _ask(
    panel: Panel, prepared: Sequence[list[np.ndarray]], sentences: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return probabilities (n, answers) and cosines (n, prompts); no cosines of several
    teachers, who differ, nor where one has none.

    Args:
        sentences: one a prompt, where this is the only question: a teacher may have a shorter way
            to its answer than vectors.
    """
    seen = []
    cosines: np.ndarray | None = None
    for number, member in enumerate(panel.members):
        zero_shot, teacher = member.zero_shot, member.teacher
        own = [parts[number] for parts in prepared]
        compared = None if sentences is None else teacher.compare(own[0], sentences)
        if compared is not None:
            cosines = compared[np.newaxis]
            seen.append(zero_shot.from_cosines(cosines))
            continue
        vectors = teacher.embed_images(own)
        cosines = vectors @ zero_shot.prompts.T if teacher.gives_vectors else None
        seen.append(zero_shot.by_prompt(vectors))
    return panel.mean(seen), cosines if len(panel.members) == 1 else None


def classify_with_student(
    images: Sequence[str],
    student: Predictor,
    max_pixels: int = MAX_PIXELS,
    ahead: Ahead = NOTHING_AHEAD,
) -> Iterator[Answer]:
    """Yield an answer for each picture, over the student's classes.

    Raises:
        SourceError: one of `images` names nothing.
    """
    for picture, shares in _asked(images, student, student.predict, max_pixels, ahead):
        if shares is None:
            yield Answer(picture.name, problem=picture.problem)
        else:
            yield Answer(picture.name, _by_class(student.classes, shares))


def classify_or_refuse(
    images: Sequence[str],
    student: Refusing,
    max_pixels: int = MAX_PIXELS,
    ahead: Ahead = NOTHING_AHEAD,
) -> Iterator[Answer]:
    """Yield the same, and how unlike any of the classes each picture is.

    Raises:
        SourceError: one of `images` names nothing.
    """

    def judge(batch: Sequence[Any]) -> list[tuple[np.ndarray, float]]:
        shares, scores = student.judge(batch)
        return list(zip(shares, scores.tolist(), strict=True))

    for picture, found in _asked(images, student, judge, max_pixels, ahead):
        if found is None:
            yield Answer(picture.name, problem=picture.problem)
            continue
        shares, score = found
        rows = _by_class(student.classes[:-1], shares)
        yield Answer(picture.name, rows, unlike=score, none=score > student.threshold)


def _asked(
    images: Sequence[str],
    predictor: Predictor,
    ask: Callable[[Sequence[Any]], Iterable[Found]],
    max_pixels: int,
    ahead: Ahead,
) -> Iterator[tuple[_Picture, Found | None]]:
    """Yield each picture with what it was answered; None for one that cannot be read."""
    for batch in _batches(_pictures(images, predictor, max_pixels, ahead)):
        readable = [picture.prepared for picture in batch if picture.problem is None]
        left = iter(ask(readable) if readable else ())
        for picture in batch:
            yield picture, next(left) if picture.problem is None else None


def _by_class(classes: Sequence[str], shares: np.ndarray) -> tuple[Row, ...]:
    pairs = zip(classes, shares, strict=True)
    return _sorted(Row(answer, answer, None, float(share)) for answer, share in pairs)


@dataclass(frozen=True)
class _Picture:
    name: str
    prepared: Any  # what the predictor takes, or None
    problem: str | None  # why there is none


def _pictures(
    images: Sequence[str], predictor: Predictor, max_pixels: int, ahead: Ahead
) -> Iterator[_Picture]:
    """Yield pictures as the predictor takes them. One that cannot be read is replaced by the
    reason, so that the others are still answered.

    Raises:
        SourceError: a name leads nowhere.
    """
    for name, load in _find(images, ahead):
        try:
            yield _Picture(name, predictor.read(load(), max_pixels), None)
        except SourceError as error:
            yield _Picture(name, None, str(error))


def _find(images: Sequence[str], ahead: Ahead) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the name of each file that is meant, and what gives its bytes."""
    for name in images:
        if name == "-":
            yield name, sys.stdin.buffer.read
        elif is_web_address(name):
            coming = ahead.get(name)
            yield name, functools.partial(fetch, name) if coming is None else coming.result
        else:
            for path in _found(name if is_address(name) else expanded(Path(name))):
                yield path, functools.partial(read_bytes, path)


def _found(place: Place) -> Sequence[str]:
    try:
        return find_images([place])
    except OSError as error:
        raise SourceError(describe_os_error(error)) from error


def _batches(pictures: Iterator[_Picture]) -> Iterator[list[_Picture]]:
    while batch := list(itertools.islice(pictures, _BATCH)):
        yield batch


def _sorted(rows: Iterator[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: -row.probability))
