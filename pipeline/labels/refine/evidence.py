"""When the batch may overrule the words: evidence that needs no labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.labels.refine.mixture import present_share

if TYPE_CHECKING:
    from scipy import sparse

_NEIGHBOURS = 0.5  # what the neighbours' odds, in nats, weigh against the answers' difference
_EXTINCT = 0.25  # of a group's size: a smaller core left behind is none
_MANY = 3  # times a group's size
_NEWCOMERS = 3  # to each image that a class has: more would make another class of it
_ENOUGH = 0.5  # of both together, for images to move
_CLEAR = 1.0  # by which a class's own prompt must lead at its images, in spreads of the answers


def moves(
    answers: np.ndarray, local: np.ndarray, batch: np.ndarray, links: sparse.csr_array
) -> np.ndarray:
    """Say for each pair of classes whether images may move from the one to the other, (classes,
    classes) bool.

    Two readings of the words disagree on some images: the vote of their neighbours, and the mixture
    over the batch. The images that both call alike are each class's core. A group that the mixture
    would move from class a to b may move where b's prompt answers to it nearly as it answers to b's
    core, a's prompt does not, and its neighbours outside the group lie in b's core. So a class that
    swallows another, or drifts, finds no support in it; nor does one that would be all newcomers.

    Args:
        answers: (n, classes), each row centred, smoothed by the neighbours.
        local: class indices (n,) by the neighbours' vote.
        batch: class indices (n,) by the mixture.
        links: weights (n, n) of each image's neighbours.
    """
    n, classes = answers.shape
    allowed = np.eye(classes, dtype=bool)
    agreed = local == batch
    away = np.flatnonzero(~agreed)
    if not len(away):
        return allowed
    core = np.zeros((n, classes), np.float32)
    core[agreed, batch[agreed]] = 1
    sizes = core.sum(axis=0)
    near = (links[away] != 0).astype(np.float32)
    around = near @ core  # neighbours in each core, counted
    heights = (core * answers).sum(axis=0) / np.maximum(sizes, 1)
    grounds = np.empty(classes)
    for number in range(classes):
        elsewhere = (local != number) & (batch != number)
        column = answers[:, number]
        grounds[number] = np.median(column[elsewhere]) if elsewhere.any() else column.min()
    pairs = local[away] * classes + batch[away]
    for pair in np.unique(pairs):
        here = np.flatnonzero(pairs == pair)
        was, now = divmod(int(pair), classes)
        group = answers[away[here]].mean(axis=0)

        def response(number: int, group: np.ndarray = group) -> float:
            height = heights[number] if sizes[number] else group[number]
            risen = (group[number] - grounds[number]) / max(height - grounds[number], 1e-3)
            return float(np.clip(risen, -1, 2))

        stay = around[here, was].sum()
        if sizes[was] < _EXTINCT * len(here) and sizes[now] < _MANY * len(here):
            # Nobody would be left: the group itself is what speaks for its class. A few among many
            # of another class are what a batch of one class looks like.
            stay += near[here][:, away[here]].sum()
        odds = np.log((around[here, now].sum() + 1) / (stay + 1))
        known = len(here) <= _NEWCOMERS * sizes[now]
        supported = response(now) - response(was) + _NEIGHBOURS * odds > _ENOUGH
        allowed[was, now] = known and supported
    return allowed


@dataclass(frozen=True)
class Acquaintance:
    """How well prompts and their images know each other."""

    lead: float  # of the own prompt over the best other, mean over the images, in spreads

    @property
    def enough(self) -> bool:
        """Whether the words know what is in the batch, so that the batch can help them."""
        return self.lead >= _CLEAR


def acquaintance(answers: np.ndarray, shares: np.ndarray, votes: np.ndarray) -> Acquaintance:
    """Measure at each class's mean by how much its own prompt leads.

    Where other prompts answer as loudly at a class's own images, the words were chosen by chance,
    and whatever the batch makes of them is chance, too.

    Args:
        answers: (n, classes), each row centred, smoothed by the neighbours.
        shares: probabilities (n, classes), refined.
        votes: (n,).
    """
    weighed = shares * votes[:, None]
    counts = weighed.sum(axis=0)
    means = (weighed.T @ answers) / np.maximum(counts, 1e-9)[:, None]
    # The mean over classes and coordinates of the squared distance to the own class's mean.
    squares = (answers**2).sum(axis=1) @ votes - 2 * float((weighed.T @ answers * means).sum())
    squares += float((counts * (means**2).sum(axis=1)).sum())
    spread = np.sqrt(max(squares / votes.sum() / answers.shape[1], 1e-9))
    own = np.diag(means).copy()
    np.fill_diagonal(means, -np.inf)
    leads = (own - means.max(axis=1)) / spread
    present = counts > present_share(answers.shape[1]) * votes.sum()
    if not present.any():
        return Acquaintance(0.0)
    return Acquaintance(float(np.average(leads[present], weights=counts[present])))
