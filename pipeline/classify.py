"""Asking about single pictures: files, folders, globs, addresses, standard input."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import SourceError, describe_os_error
from pipeline.images.sources import find_images
from pipeline.ontology import Ontology
from pipeline.pixels import read_rgb
from pipeline.student import Student
from pipeline.teachers.zero_shot import Panel

_BATCH = 32
_MAX_DOWNLOAD = 64 << 20  # bytes
_TIMEOUT = 30.0  # seconds


@dataclass(frozen=True)
class Row:
    """One possible answer: a prompt, or for a student a class."""

    text: str
    class_name: str
    similarity: float | None  # cosine; None where there is none, or several teachers' differ
    probability: float


@dataclass(frozen=True)
class Answer:
    """What was found on one picture; `rows` with the most probable first, or why there are none."""

    image: str
    rows: tuple[Row, ...] = ()
    problem: str | None = None


def classify_with_teachers(
    images: Sequence[str], panel: Panel, ontology: Ontology, max_pixels: int = 100_000_000
) -> Iterator[Answer]:
    """Yield an answer for each picture, over the prompts of the ontology.

    Raises:
        SourceError: one of `images` names nothing.
    """
    pictures = read_images(images, max_pixels)
    first = list(itertools.islice(pictures, 2))
    alone = len(first) == 1 and len(ontology.templates) == 1
    for batch in _batches(itertools.chain(first, pictures)):
        readable = [picture for _, picture in batch if isinstance(picture, Image.Image)]
        seen = []
        cosines: np.ndarray | None = None
        for member in panel.members if readable else ():
            teacher = member.teacher
            compare = getattr(teacher, "compare", None) if alone else None
            if compare is not None:
                # One question only: the server's own comparison spares it the vectors.
                cosines = np.array([compare(readable[0], ontology.sentences)])
                seen.append(member.from_cosines(cosines))
                continue
            vectors = teacher.embed_images([teacher.prepare(picture) for picture in readable])
            cosines = vectors @ member.prompts.T if teacher.gives_vectors else None
            seen.append(member.by_prompt(vectors))
        together = panel.mean(seen) if seen else np.empty((0, 0))
        if len(panel.members) > 1:
            cosines = None  # each has its own
        row = itertools.count()
        for name, picture in batch:
            if isinstance(picture, str):
                yield Answer(name, problem=picture)
                continue
            at = next(row)
            yield Answer(
                name,
                _sorted(
                    Row(
                        prompt,
                        ontology.classes[ontology.prompt_classes[number]],
                        None if cosines is None else float(cosines[at, number]),
                        float(together[at, number]),
                    )
                    for number, prompt in enumerate(ontology.prompts)
                ),
            )


def classify_with_student(
    images: Sequence[str], student: Student, max_pixels: int = 100_000_000
) -> Iterator[Answer]:
    """Yield an answer for each picture, over the student's classes.

    Raises:
        SourceError: one of `images` names nothing.
    """
    for batch in _batches(read_images(images, max_pixels)):
        pictures = [picture for _, picture in batch if isinstance(picture, Image.Image)]
        shares = student.predict([student.prepare(one) for one in pictures]) if pictures else ()
        left = iter(shares)
        for name, picture in batch:
            if isinstance(picture, str):
                yield Answer(name, problem=picture)
                continue
            pairs = zip(student.classes, next(left), strict=True)
            yield Answer(name, _sorted(Row(one, one, None, float(share)) for one, share in pairs))


def read_images(
    images: Sequence[str], max_pixels: int = 100_000_000
) -> Iterator[tuple[str, Image.Image | str]]:
    """Yield (name, picture) for files, folders, globs, addresses and "-", standard input.

    A picture that cannot be read is replaced by the reason, so that the others are still answered.

    Raises:
        SourceError: a name leads nowhere.
    """
    for name in images:
        if name == "-":
            yield "-", _read(sys.stdin.buffer.read(), max_pixels)
        elif name.lower().startswith(("http://", "https://")):
            yield name, _fetch(name, max_pixels)
        else:
            try:
                paths = find_images([Path(name).expanduser()])
            except OSError as error:
                raise SourceError(describe_os_error(error)) from error
            for path in paths:
                yield path, _read(Path(path), max_pixels)


def _read(source: bytes | Path, max_pixels: int) -> Image.Image | str:
    try:
        return read_rgb(source, max_pixels)
    except SourceError as error:
        return str(error)


def _fetch(address: str, max_pixels: int) -> Image.Image | str:
    import requests

    try:
        with requests.get(address, timeout=_TIMEOUT, stream=True) as answer:
            if answer.status_code != 200:
                return f"The server answered with status {answer.status_code}."
            data = bytearray()
            for chunk in answer.iter_content(1 << 16):
                data += chunk
                if len(data) > _MAX_DOWNLOAD:
                    return f"It is larger than {_MAX_DOWNLOAD >> 20} MB. Download it yourself."
    except requests.RequestException as error:
        return f"It cannot be fetched ({type(error).__name__})."
    return _read(bytes(data), max_pixels)


def _batches(
    pictures: Iterator[tuple[str, Image.Image | str]],
) -> Iterator[list[tuple[str, Image.Image | str]]]:
    while batch := list(itertools.islice(pictures, _BATCH)):
        yield batch


def _sorted(rows: Iterator[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: -row.probability))
