"""How little a picture is like what a student was taught, and from where on it is none of it.

A softmax shares one out among the classes whatever it is shown. What the network saw before it
decides says more: pictures of a class point in one direction there, and a picture of something else
lies off all of them. So a student carries the mean direction of each class and, of pictures that it
was not trained on, how far off such pictures lie; a picture that lies further off than nearly all
of them is none of these classes.

The distance is one minus the largest cosine with a class's mean direction, after a square root
of the features, which keeps a few strong ones from speaking for all (the cosine is then the
affinity of Bhattacharyya, 1943). All of it is a few lines of numpy, on numbers that lie beside the
weights. What else was tried, and on what, is in docs/student.md.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.errors import StudentError

Refuse = Literal["auto"] | float  # see `Unlike.threshold`

NONE = "none of these"  # the answer in the place of a class
FILE = "unlike.npz"  # beside the weights
AUTO = 0.05  # share of pictures of its classes that may be turned away
FEWEST = 10  # held-out pictures below which no threshold is set
_LEAST = 1e-12


@dataclass(frozen=True)
class Unlike:
    """What a student knows of pictures that are like those that it was taught."""

    directions: np.ndarray  # (classes, features) float32, unit vectors
    held_out: np.ndarray  # (n,) float32, rising: scores of pictures that it was not trained on

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return how little pictures are like any class, (n,) float32 from 0 to 1.

        Args:
            features: (n, features) of the pictures, before the student decides.
        """
        nearest = (_directions(features) @ self.directions.T).max(axis=1)
        scores: np.ndarray = np.clip(1 - nearest, 0, 1).astype(np.float32)
        return scores

    def threshold(self, refuse: Refuse = "auto") -> float | None:
        """Return the score above which a picture is none of the classes; None where so few pictures
        were held out that it is not known.

        Of new pictures like the held-out ones no more than the share is turned away, on average
        over trainings (split conformal prediction: Papadopoulos et al., 2002). Where they are too
        few for so small a share, it is the largest of their scores.

        Args:
            refuse: the share, between 0 and 1; "auto" is one in twenty.
        """
        n = len(self.held_out)
        if n < FEWEST:
            return None
        share = AUTO if refuse == "auto" else refuse
        rank = min(n, math.ceil((n + 1) * (1 - share)))
        return float(self.held_out[rank - 1])

    def save(self, folder: Path) -> None:
        """Put it into a student's folder."""
        with (folder / FILE).open("wb") as file:
            np.savez(file, directions=self.directions, held_out=self.held_out)

    @classmethod
    def load(cls, folder: Path, classes: int) -> Unlike | None:
        """Read it from a student's folder; None for a student of an earlier version.

        Raises:
            StudentError: it is damaged, or another student's.
        """
        file = folder / FILE
        try:
            with np.load(file, allow_pickle=False) as known:
                found = cls(known["directions"], known["held_out"])
            if (
                found.directions.ndim != 2
                or len(found.directions) != classes
                or found.held_out.ndim != 1
                or found.directions.dtype != np.float32
                or found.held_out.dtype != np.float32
                or not np.isfinite(found.directions).all()
                or not np.isfinite(found.held_out).all()
            ):
                raise ValueError("it is another student's")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StudentError(f"{file} is damaged. Run `clip2yolo train` again.") from error
        return found


def fit(features: np.ndarray, labels: Sequence[int], classes: int, held_out: np.ndarray) -> Unlike:
    """Return what a student knows of pictures like those that it was taught.

    Args:
        features: (n, features) of pictures that it was trained on.
        labels: their class indices, (n,); a class without a picture is like none.
        classes: how many there are.
        held_out: (m, features) of pictures that it was not trained on.
    """
    seen, index = _directions(features), np.asarray(labels)
    means = np.zeros((classes, features.shape[1]), np.float32)
    np.add.at(means, index, seen)
    unit = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), _LEAST)
    known = Unlike(unit.astype(np.float32), np.zeros(0, np.float32))
    return Unlike(known.directions, np.sort(known.scores(held_out)))


def _directions(features: np.ndarray) -> np.ndarray:
    """Return unit vectors (n, features). Features below 0 say that something is not there, and
    count as 0."""
    roots = np.sqrt(np.maximum(features, 0))
    unit: np.ndarray = roots / np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), _LEAST)
    return unit
