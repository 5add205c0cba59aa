"""The ways to label that are compared, and what each gets right."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from benchmarks.label_batches import Variation
from benchmarks.label_data import Case
from pipeline.evaluation.metrics import calibration_error, proportion
from pipeline.labels.calibrate import calibrated
from pipeline.labels.refine.batch import Batch, Space
from pipeline.labels.refine.refine import How, refine
from pipeline.labels.votes import votes
from pipeline.teachers.prototypes import fit_prototypes
from pipeline.teachers.zero_shot import ZeroShot

EXAMPLES = 5  # of each class of the data set, at most half of its images
SEEDS = (0, 1, 2)  # of which images are examples


@dataclass(frozen=True)
class Row:
    """How right one way to label is on one batch."""

    teacher: str
    data: str
    method: str
    accuracy: float
    low: float  # Wilson's 95 % interval
    high: float
    n: int
    moved: int  # labels that are not what the words alone say
    seconds: float  # of labeling alone: no image is embedded
    ece: float | None  # expected calibration error
    refined: bool = False  # whether the images had a say
    ceiling: float | None = None  # what centroids of the true classes get right


def rows_of(case: Case, variation: Variation, seeds: tuple[int, ...] = SEEDS) -> Iterator[Row]:
    """Label a batch in each way.

    Args:
        case: teacher and images.
        variation: which images, and where the prompts lie.
        seeds: of the examples; what comes out is the mean over them.
    """
    truth = case.truth[variation.rows]
    started = time.perf_counter()
    batch = batch_of(case, variation)
    seconds = time.perf_counter() - started
    plain = batch.plain.argmax(axis=1)
    everything = np.ones(len(truth), bool)

    def row(method: str, found: np.ndarray, seconds: float, refined: bool) -> Row:
        return _row(case, variation, method, found, plain, everything, seconds, refined)

    yield row("plain", batch.plain, seconds, False)
    for method, how in (("refined", "always"), ("auto", "auto")):
        found, seconds, refined = labeled(batch, how)
        yield row(method, found, seconds, refined)
    shown = [_with_examples(case, variation, seed) for seed in seeds]
    yield _mean(shown, ceiling(case, variation))


def batch_of(case: Case, variation: Variation, examples: np.ndarray | None = None) -> Batch:
    """Return a batch as the label stage would hand it to refinement.

    Args:
        case: teacher and images.
        variation: which images, and where the prompts lie.
        examples: (m,) rows of the batch that are examples of their class.
    """
    rows, ontology, teacher = variation.rows, case.ontology, case.member.teacher
    vectors = case.spaces[0].vectors[rows]
    truth, prototypes = case.truth[rows], None
    known = np.full(len(rows), -1)
    if examples is not None and len(examples):
        names = [ontology.classes[number] for number in np.unique(truth[examples])]
        ontology = replace(ontology, examples=tuple(names))
        known[examples] = truth[examples]
        prototypes = fit_prototypes(
            vectors[examples],
            truth[examples],
            variation.prompts,
            ontology,
            teacher.logit_scale,
        )
    asked = ZeroShot(teacher, ontology, variation.prompts, ontology.classes, prototypes)
    return Batch(
        classes=ontology.classes,
        plain=asked.classify(vectors),
        spaces=tuple(Space(space.name, space.vectors[rows]) for space in case.spaces),
        known=known,
        votes=np.ones(len(rows), np.float32),
    )


def labeled(batch: Batch, how: How) -> tuple[np.ndarray, float, bool]:
    """Return probabilities (n, classes), the seconds that they took, and whether the images had a
    say: from the vectors on, as the label stage does it."""
    started = time.perf_counter()
    batch = with_votes(batch)
    refined = refine(batch, how)
    found = calibrated(refined.probabilities, batch, refined.lead)
    return found, time.perf_counter() - started, refined.refined


def with_votes(batch: Batch) -> Batch:
    """Return a batch of stills in which look-alikes share one vote."""
    n = len(batch.plain)
    schema = {"video": pl.String, "seconds": pl.Float64}
    stills = pl.DataFrame({name: [None] * n for name in schema}, schema=schema)
    return replace(batch, votes=votes(batch.spaces[0].vectors, stills))


def _with_examples(case: Case, variation: Variation, seed: int) -> Row:
    """Label with examples, which a person has of every class whatever the batch holds, and score
    the images that are none."""
    chosen = chosen_examples(case.truth, seed)
    beside = np.setdiff1d(chosen, variation.rows)
    everything = replace(variation, rows=np.concatenate([variation.rows, beside]))
    shown = np.isin(everything.rows, chosen)
    plain = batch_of(case, everything).plain.argmax(axis=1)
    started = time.perf_counter()
    batch = batch_of(case, everything, np.flatnonzero(shown))
    found, _, refined = labeled(batch, "auto")
    seconds = time.perf_counter() - started
    return _row(case, everything, "examples5", found, plain, ~shown, seconds, refined)


def chosen_examples(truth: np.ndarray, seed: int) -> np.ndarray:
    """Return rows (m,) that are examples: `EXAMPLES` of each class, at most half of its images.

    Args:
        truth: (n,) class indices.
        seed: of what is drawn.
    """
    rng = np.random.default_rng(seed)
    of_class = [rng.permutation(np.flatnonzero(truth == number)) for number in np.unique(truth)]
    return np.sort(np.concatenate([rows[: min(EXAMPLES, len(rows) // 2)] for rows in of_class]))


def ceiling(case: Case, variation: Variation) -> float:
    """Return the share of a batch that lies nearest to the centroid of its true class, by the space
    in which most does."""
    truth = case.truth[variation.rows]
    present, own = np.unique(truth, return_inverse=True)
    best = 0.0
    for space in case.spaces:
        vectors = space.vectors[variation.rows]
        seen = _unit(vectors - vectors.mean(axis=0))
        centroids = _unit(np.stack([seen[truth == number].mean(axis=0) for number in present]))
        best = max(best, float(((seen @ centroids.T).argmax(axis=1) == own).mean()))
    return best


def _unit(vectors: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return scaled


def _row(
    case: Case,
    variation: Variation,
    method: str,
    found: np.ndarray,
    plain: np.ndarray,
    scored: np.ndarray,
    seconds: float,
    refined: bool,
) -> Row:
    """The figures of probabilities (n, classes) on those images that are scored, (n,) bool."""
    labels, truth = found.argmax(axis=1), case.truth[variation.rows]
    right = (labels == truth)[scored]
    share = proportion(int(right.sum()), len(right))
    assert share is not None  # at most half of a batch are examples
    return Row(
        teacher=case.teacher,
        data=f"{case.data}: {variation.name}",
        method=method,
        accuracy=share.value,
        low=share.low,
        high=share.high,
        n=share.n,
        moved=int((labels != plain)[scored].sum()),
        seconds=seconds,
        ece=calibration_error(found.max(axis=1)[scored], right),
        refined=refined,
    )


def _mean(rows: list[Row], ceiling: float) -> Row:
    """One row for those of several seeds. The interval is that of one of them: their images are
    nearly the same."""
    n = rows[0].n
    share = proportion(round(float(np.mean([row.accuracy for row in rows])) * n), n)
    assert share is not None
    return replace(
        rows[0],
        accuracy=float(np.mean([row.accuracy for row in rows])),
        low=share.low,
        high=share.high,
        moved=round(float(np.mean([row.moved for row in rows]))),
        seconds=float(np.mean([row.seconds for row in rows])),
        ece=float(np.mean([row.ece or 0.0 for row in rows])),
        ceiling=ceiling,
    )
