"""How little a picture is like what a student was taught, and from where on it is none of it.

A softmax shares one out among the classes whatever it is shown. What the network saw before it
decided, its features, says more. Three things are asked of them. How near are they to where the
last layer would decide otherwise, for how far they lie from the middle (Liu and Qin, 2024, "Fast
decision boundary based out-of-distribution detector")? How much of them lies in directions that
pictures of training hardly have (the residual of Wang et al., 2022, "ViM: Out-of-distribution with
virtual-logit matching")? And how far are they off the mean direction of the nearest class? There
each feature counts by its square root, so that a few strong ones do not speak for all.

Where there are pictures of something else, of a background class that was left out, say, a fourth
is asked: are they nearer to one of those than to the classes? Such pictures are not trained on:
that gained on the very kinds that were shown, and lost elsewhere.

Each is told in spreads above the median of pictures that the student was not trained on, and all
are added. No one of them was good on all that it was tried on, the sum was; see docs/student.md.
All of it is a few lines of numpy on numbers that lie beside the weights.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.errors import StudentError

Refuse = Literal["auto"] | float  # see `Unlike.threshold`

NONE = "none of these"  # the answer in the place of a class
FILE = "unlike.npz"  # beside the weights
IN_BF16 = "unlike-bf16.npz"  # the same of what is seen in bf16, where that gives the same answers
AUTO = 0.05  # share of pictures of its classes that may be turned away
FEWEST = 10  # held-out pictures below which no threshold is set
_HALF = 2.0  # spreads above the median where a score is 0.5, as in labels.parquet
_DIRECTIONS = 64  # that pictures of training have, at most
_FEW = 4  # so many times more features than pictures: see `_space`
_KINDS = 8  # of other things that are told apart, at most
_OF_A_KIND = 8  # pictures that there are for each
_ROUNDS = 15  # of finding them
_LEAST = 1e-12
_ROUNDED = 1e-3  # of a measure's whole range: what half precision may make of it


@dataclass(frozen=True)
class Unlike:
    """What a student knows of pictures that are like those that it was taught; all float32."""

    weights: np.ndarray  # (classes, features) of the last layer
    bias: np.ndarray  # (classes,) of it
    centre: np.ndarray  # (features,) mean of pictures of training
    space: np.ndarray  # (directions, features), orthonormal: in which they vary
    means: np.ndarray  # (classes, features), unit vectors: where each class lies
    outside: np.ndarray  # (kinds, features), unit vectors: where other things lie, if any
    middle: np.ndarray  # (measures,) their median, of held-out pictures
    spread: np.ndarray  # (measures,) and how much they differ
    held_out: np.ndarray  # (n,) rising: scores of pictures that the student was not trained on

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return how little pictures are like any class, (n,) float32 from 0 to 1.

        Args:
            features: (n, features) of the pictures: what the last layer is given.
        """
        above = (self._measures(features) - self.middle) / self.spread
        far = np.clip(above.mean(axis=1) - _HALF, -50, 50)
        scores: np.ndarray = (1 / (1 + np.exp(-far))).astype(np.float32)
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

    def settled(self, held_out: np.ndarray) -> Unlike:
        """Return the same with its scale, and what is known of new pictures, by other ones.

        Args:
            held_out: (m, features) of pictures that the student was not trained on.
        """
        if not len(held_out):
            count = 4 if len(self.outside) else 3
            nothing, zeros = np.zeros(0, np.float32), np.zeros(count, np.float32)
            return replace(self, middle=zeros, spread=zeros + 1, held_out=nothing)
        measures = self._measures(held_out)
        low, middle, high = np.quantile(measures, [0.16, 0.5, 0.84], axis=0)
        # A student that sees nearly the same in all pictures of a class would else turn away each
        # whose rounding is another. Only what lies in no direction is as long as features are.
        least = np.full(measures.shape[1], _ROUNDED)
        least[1] *= np.median(np.linalg.norm(held_out, axis=1))
        known = replace(
            self,
            middle=middle.astype(np.float32),
            spread=np.maximum(high - low, np.maximum(least, _LEAST)).astype(np.float32),
        )
        return replace(known, held_out=np.sort(known.scores(held_out)))

    def save(self, folder: Path, name: str = FILE) -> None:
        """Put it into a student's folder."""
        with (folder / name).open("wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, folder: Path, classes: int, name: str = FILE) -> Unlike | None:
        """Read it from a student's folder; None where it is not there, as of an earlier version.

        Raises:
            StudentError: it is damaged, or another student's.
        """
        file = folder / name
        try:
            with np.load(file, allow_pickle=False) as known:
                found = cls(**{field.name: known[field.name] for field in fields(cls)})
            found._check(classes)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StudentError(f"{file} is damaged. Run `clip2yolo train` again.") from error
        return found

    def _check(self, classes: int) -> None:
        size = self.weights.shape[-1]
        shapes = {
            "weights": (classes, size),
            "bias": (classes,),
            "centre": (size,),
            "space": (len(self.space), size),
            "means": (classes, size),
            "outside": (len(self.outside), size),
            "middle": (4 if len(self.outside) else 3,),
            "spread": (4 if len(self.outside) else 3,),
            "held_out": (len(self.held_out),),
        }
        for name, shape in shapes.items():
            numbers: np.ndarray = getattr(self, name)
            if numbers.shape != shape or numbers.dtype != np.float32:
                raise ValueError(f"{name} is another student's")
            if not np.isfinite(numbers).all():
                raise ValueError(f"{name} is not finite")
        if not (self.spread > 0).all():
            raise ValueError("nothing differs")

    def _measures(self, features: np.ndarray) -> np.ndarray:
        """Return (n, 3), or (n, 4) where other things are known, each higher of a picture that is
        unlike."""
        # Exactly: what is left of two long sums is small, and would be the rounding of each format.
        features = features.astype(np.float64)
        within = features @ self.space.T
        beyond = np.sqrt(np.maximum((features**2).sum(axis=1) - (within**2).sum(axis=1), 0))
        roots = _roots(features)
        seen = roots / _lengths(roots)
        likeness = (seen @ self.means.T).max(axis=1)
        measures = [-self._to_boundaries(features), beyond, 1 - likeness]
        if len(self.outside):
            measures.append((seen @ self.outside.T).max(axis=1) - likeness)
        return np.stack(measures, axis=1)

    def _to_boundaries(self, features: np.ndarray) -> np.ndarray:
        """Return the mean distance (n,) to where each other class would be as likely as the best,
        as a share of the distance from the centre."""
        logits = features @ self.weights.T + self.bias
        best = logits.argmax(axis=1)
        ahead = logits.max(axis=1, keepdims=True) - logits
        between = np.linalg.norm(self.weights[:, np.newaxis] - self.weights, axis=2)
        distances = ahead / np.maximum(between[best], _LEAST)
        from_centre = np.linalg.norm(features - self.centre, axis=1)
        others = max(len(self.weights) - 1, 1)
        share: np.ndarray = distances.sum(axis=1) / others / np.maximum(from_centre, _LEAST)
        return share


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    held_out: np.ndarray,
    outside: np.ndarray,
) -> Unlike:
    """Return what a student knows of pictures like those that it was taught.

    Args:
        features: (n, features) of pictures that it was trained on.
        labels: (n,) their class indices; a class without a picture is like none.
        weights: (classes, features) of its last layer.
        bias: (classes,) of it.
        held_out: (m, features) of pictures that it was not trained on.
        outside: (k, features) of pictures of no class; few say nothing.
    """
    means = np.zeros(weights.shape, np.float64)
    np.add.at(means, labels, _unit(_roots(features)))
    nothing = np.zeros(0, np.float32)
    known = Unlike(
        weights=weights,
        bias=bias,
        centre=features.mean(axis=0, dtype=np.float64).astype(np.float32),
        space=_space(features),
        means=_unit(means),
        outside=_kinds(_unit(_roots(outside))),
        middle=nothing,
        spread=nothing,
        held_out=nothing,
    )
    return known.settled(held_out)


def _space(features: np.ndarray) -> np.ndarray:
    """Return the principal directions (directions, features) about the origin; no more than half as
    many as there are pictures, whose own noise they would be."""
    wide = features.astype(np.float64)
    pictures, width = wide.shape
    if pictures * _FEW < width:  # the same directions, in a fraction of the time
        found = np.linalg.svd(wide, full_matrices=False)[2]
    else:
        found = np.linalg.eigh(wide.T @ wide)[1][:, ::-1].T
    return found[: min(_DIRECTIONS, pictures // 2)].astype(np.float32)


def _kinds(seen: np.ndarray) -> np.ndarray:
    """Return the mean directions (kinds, features) of groups of pictures alike: k-means on the
    sphere (Dhillon and Modha, 2001), from starts that are spread over the pictures."""
    count = min(_KINDS, len(seen) // _OF_A_KIND)
    if not count:
        return np.zeros((0, seen.shape[1]), np.float32)
    kinds: np.ndarray = seen[np.linspace(0, len(seen) - 1, count).astype(int)]
    for _ in range(_ROUNDS):
        nearest = (seen @ kinds.T).argmax(axis=1)
        sums = np.zeros(kinds.shape, np.float64)
        np.add.at(sums, nearest, seen)
        kinds = _unit(sums[np.bincount(nearest, minlength=len(kinds)) > 0])
    return kinds


def _roots(features: np.ndarray) -> np.ndarray:
    """Features below 0 say that something is not there, and count as 0."""
    roots: np.ndarray = np.sqrt(np.maximum(features, 0))
    return roots


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = (rows / _lengths(rows)).astype(np.float32)
    return unit


def _lengths(rows: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _LEAST)
    return lengths
