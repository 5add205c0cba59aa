"""Who is taken for whom: as squares where the classes are few, else as the commonest pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.record import Evaluation

_MOST = 24  # classes of which a matrix can be read
_PAIRS = 20  # that are told of more


@dataclass(frozen=True)
class Square:
    """A cell of a matrix."""

    count: int
    share: float  # of its row


@dataclass(frozen=True)
class Pair:
    """Images of one class that were given another."""

    row: str
    answer: str
    count: int
    share: float  # of its row


@dataclass(frozen=True)
class Matrix:
    """Counts by class (rows) and answer (columns); or the commonest pairs of those that differ."""

    title: str
    rows_are: str
    cells: list[list[Square]]  # [] where the classes are many
    pairs: list[Pair]  # [] where they are few


def matrices_of(evaluation: Evaluation) -> list[Matrix]:
    """Return student and teacher against truth; without truth, the student against its teacher."""
    student, teacher = evaluation.student, evaluation.teacher
    if evaluation.held_out.has_truth:
        found = [("Student", "truth", student.confusion), ("Teacher", "truth", teacher.confusion)]
    else:
        found = [("Student beside teacher", "teacher", student.agreement_matrix)]
    return [
        _matrix(title, rows_are, np.array(counts), evaluation.classes)
        for title, rows_are, counts in found
    ]


def _matrix(title: str, rows_are: str, counts: np.ndarray, classes: list[str]) -> Matrix:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(classes) <= _MOST:
        cells = [
            [Square(int(count), float(share)) for count, share in zip(*row, strict=True)]
            for row in zip(counts, shares, strict=True)
        ]
        return Matrix(title, rows_are, cells, [])
    wrong = counts * (1 - np.eye(len(classes), dtype=counts.dtype))
    commonest = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    places = (divmod(int(at), len(classes)) for at in commonest)
    pairs = [
        Pair(classes[row], classes[column], int(wrong[row, column]), float(shares[row, column]))
        for row, column in places
        if wrong[row, column]
    ]
    return Matrix(title, rows_are, [], pairs)
