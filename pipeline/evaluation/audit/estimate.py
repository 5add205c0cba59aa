"""From answers about a stratified sample to the share of labels that is right, with an interval.

Three estimates of the same answers stand side by side. The *stratified* one weighs each stratum by
its size. The *difference* estimate also uses how likely each label was held to be right, on all
images, and corrects it by what the answers show (Fogliato et al., arXiv 2406.07320). *Tuned* takes
as much of that as the answers have earned: PPI++ (Angelopoulos, Duchi and Zrnic, arXiv 2311.01453),
whose weight, at most 1, is a regression coefficient and is shrunk like one where answers are few
(ridge: arXiv 2411.12665); below the correlation from which it can help at all it is 0 (Mani et al.,
arXiv 2505.20178). Beside them stands Wilson's interval, which knows nothing of strata. The
stratified one is what is told: strata along the doubt leave the prediction next to nothing to add,
and its intervals held the truth best (docs/audit.md).

The interval of each is a score interval: a share is in it if the answers would not be surprising
were it the true one. What answers would then do follows from a logistic model of how right labels
are along the doubt, whose slope the answers give. With one stratum and no slope it is Wilson's
own, and like Wilson's it keeps its width where all answers are right: there the usual variance is
0 (an effective sample from a model is what Franco et al., 2019, recommend for surveys). A sample of
a small pool says more than one of a large one (finite population correction).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.metrics import Proportion, proportion

_Z95 = 1.959963984540054  # the standard normal's 97.5 % quantile
_SURE = 0.02  # a prediction is not taken for surer than this is from 0 and 1
_SLOPE = 2.5  # standard deviation that a slope is expected to have, a standard deviation of doubt
_JOINED = 4  # answers, with fewer of which a stratum is joined with the next
_BINS = 4  # of a stratum, in which the model is computed
_GRID = np.linspace(-14.0, 14.0, 281)  # intercepts of the model that are looked at
_RIDGE = 4.0  # answers that the weight of a prediction must outweigh
# Half the 5 % quantiles of chi-squared with 2, 4 and 6 degrees: where one to three answers are
# wrong (or right) a score interval ends too early (Brown, Cai and DasGupta, 2001, section 4.1.1).
_RARE = {1: 0.0512933, 2: 0.3553615, 3: 0.8176914}


@dataclass(frozen=True)
class Estimates:
    """The share of right labels among all images that a sample stands for."""

    images: int  # that the sample stands for
    answers: int
    wilson: Proportion  # of the answers alone
    stratified: Proportion
    difference: Proportion
    tuned: Proportion
    weight: float  # of the prediction in `tuned`; 0: it has not earned any
    correlation: float  # of prediction and answer, within strata


def estimate(
    strata: np.ndarray, predicted: np.ndarray, rows: np.ndarray, right: np.ndarray
) -> Estimates:
    """Return what the answers say of all images.

    Strata with too few answers count together with their neighbours.

    Args:
        strata: of each image, (n,) int, in the order of the doubt.
        predicted: how likely each label is held to be right, (n,) from 0 to 1.
        rows: the images that were drawn and answered, at least one, each once.
        right: whether the answer confirms the label, beside `rows`.
    """
    if not len(rows):
        raise ValueError("there is no answer")
    groups = _groups(strata, rows)
    hits = np.asarray(right, np.float64)
    likely = np.clip(np.asarray(predicted, np.float64), _SURE, 1 - _SURE)
    slope_of = np.log(likely / (1 - likely))
    slope_of = (slope_of - slope_of.mean()) / max(float(slope_of.std()), 1e-9)
    model = _Model.of(groups, slope_of, likely, rows, hits)
    weight, correlation = _weight(groups[rows], likely[rows], hits)
    wilson = proportion(int(hits.sum()), len(rows))
    assert wilson is not None
    return Estimates(
        images=len(strata),
        answers=len(rows),
        wilson=wilson,
        stratified=model.interval(0.0),
        difference=model.interval(1.0),
        tuned=model.interval(weight),
        weight=weight,
        correlation=correlation,
    )


def _groups(strata: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Join neighbouring strata until each group has some answers, and number the groups from 0.

    Where a sheet is half filled in, or few labels of a stratum are accepted, a stratum of one
    answer would weigh it by far more or less than the others are weighed.
    """
    numbers, where = np.unique(strata, return_inverse=True)
    asked = np.bincount(where[rows], minlength=len(numbers))
    group_of, group, have = np.zeros(len(numbers), np.int64), 0, 0
    for number, many in enumerate(asked):
        if have >= _JOINED:
            group, have = group + 1, 0
        group_of[number] = group
        have += int(many)
    if have < _JOINED and group:
        group_of[group_of == group] = group - 1
    found: np.ndarray = group_of[where]
    return found


def _weight(groups: np.ndarray, predicted: np.ndarray, hits: np.ndarray) -> tuple[float, float]:
    """How much of a prediction is to be used, and its correlation with the answers, both within
    strata."""
    sizes = np.bincount(groups)

    def within(values: np.ndarray) -> np.ndarray:
        centred: np.ndarray = values - (np.bincount(groups, values) / sizes)[groups]
        return centred

    told, said = within(predicted), within(hits)
    free = len(hits) - int((sizes > 0).sum())
    both, spread = float(told @ said), float(told @ told)
    correlation = both / math.sqrt(max(spread * float(said @ said), 1e-18))
    if free < 4 or correlation <= 1 / math.sqrt(free - 2):
        return 0.0, correlation
    # Beyond 1 it would be fitted to chance: with 50 answers such intervals held 82 % in one case.
    return min(1.0, both / (spread + _RIDGE * spread / free)), correlation


@dataclass(frozen=True)
class _Model:
    """What the answers would do, were this or that share of labels right: `grid` shares are looked
    at, in as many rows."""

    answers: int
    census: bool  # all images are answered
    hits: float
    mean: float  # of the right answers, each stratum by its size
    corrected: float  # by what a whole unit of the prediction adds to that
    open: np.ndarray  # (strata,) W^2 (1 - n/N) / n, for a share W of all images
    truth: np.ndarray  # (grid,) the shares
    right: np.ndarray  # (grid, strata) how many labels are right then
    both: np.ndarray  # (grid, strata) mean of prediction times that
    predicted: np.ndarray  # (strata,)
    squared: np.ndarray  # (strata,) mean square of the prediction

    @classmethod
    def of(
        cls,
        groups: np.ndarray,
        place: np.ndarray,
        predicted: np.ndarray,
        rows: np.ndarray,
        hits: np.ndarray,
    ) -> _Model:
        sizes, asked = np.bincount(groups), np.bincount(groups[rows])
        weights = sizes / len(groups)
        # Each stratum in so many bins along the prediction; `first`: where a stratum's bins begin.
        order = np.lexsort((place, groups))
        begin = np.cumsum(sizes) - sizes
        parts = np.minimum(_BINS, sizes)
        first = np.cumsum(parts) - parts
        own = groups[order]
        number = first[own] + (np.arange(len(order)) - begin[own]) * parts[own] // sizes[own]
        many = np.bincount(number)

        def mean(values: np.ndarray) -> np.ndarray:
            means: np.ndarray = np.bincount(number, values[order]) / many
            return means

        shares, told = many / len(groups), mean(predicted)

        def within(values: np.ndarray) -> np.ndarray:
            means: np.ndarray = np.add.reduceat(values * shares, first, axis=-1) / weights
            return means

        along = _slope(place[rows], hits) * mean(place)
        right = 1 / (1 + np.exp(-(_GRID[:, None] + along[None])))
        found = np.bincount(groups[rows], hits) / asked
        foreseen = np.bincount(groups[rows], predicted[rows]) / asked
        return cls(
            answers=len(rows),
            census=len(rows) == len(groups),
            hits=float(hits.sum()),
            mean=round(float(weights @ found), 12),  # of nothing but right ones exactly 1
            corrected=float(predicted.mean() - weights @ foreseen),
            open=weights**2 * (1 - asked / sizes) / asked,
            truth=right @ shares,
            right=within(right),
            both=within(right * told),
            predicted=within(told),
            squared=within(told**2),
        )

    def interval(self, weight: float) -> Proportion:
        """The estimate with so much of the prediction, and the shares that fit the answers."""
        found = self.mean + weight * self.corrected
        value = min(1.0, max(0.0, found))
        if self.census:
            return Proportion(value, value, value, self.answers)
        # Of an answer less so much of its prediction: the mean square less the square of the mean.
        square = self.right - 2 * weight * self.both + weight**2 * self.squared
        inner = np.maximum(square - (self.right - weight * self.predicted) ** 2, 0)
        # `behind` rises with the share: it is -1.96 at the lower end and 1.96 at the upper one.
        behind = (self.truth - found) / np.maximum(np.sqrt(inner @ self.open), 1e-12)
        low, high = map(float, np.interp([-_Z95, _Z95], behind, self.truth))
        wrong = self.answers - self.hits
        high = max(high, value, 1 - _RARE.get(round(wrong), math.inf) / self.answers)
        low = min(low, value, _RARE.get(round(self.hits), math.inf) / self.answers)
        # At the ends the bound is exactly 0 or 1, as Wilson's is.
        return Proportion(
            value, low if self.hits else 0.0, min(high, 1.0) if wrong else 1.0, self.answers
        )


def _slope(place: np.ndarray, hits: np.ndarray) -> float:
    """How fast labels get better along the prediction, by logistic regression with a normal prior
    around 0; never negative."""
    n = len(hits)
    share = (hits.sum() + 0.5) / (n + 1)
    start, slope = math.log(share / (1 - share)), 0.0
    middle = place.mean()
    along = place - middle
    for _ in range(50):
        right = 1 / (1 + np.exp(-np.clip(start + slope * along, -30, 30)))
        # Half an answer of either kind keeps the intercept finite where all are right.
        gradient = np.array(
            [(hits - right).sum() + (0.5 - right).mean(), (hits - right) @ along]
        ) - [0.0, slope / _SLOPE**2]
        spread = right * (1 - right) + 1e-9
        cross = float(spread @ along)
        curve = np.array(
            [[spread.sum() + spread.mean(), cross], [cross, spread @ along**2 + 1 / _SLOPE**2]]
        )
        step = np.clip(np.linalg.solve(curve, gradient), -2, 2)
        start, slope = start + float(step[0]), slope + float(step[1])
        if np.abs(step).max() < 1e-7:
            break
    return max(0.0, slope)
