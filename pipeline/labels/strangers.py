"""What is missing from the ontology: groups of images alike that fit no prompt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.labels.around import blocks, centre_of, some_rows
from pipeline.labels.refine.batch import Batch, Notice
from pipeline.labels.refine.neighbours import Eye, Sight
from pipeline.labels.unlike import reject_threshold
from pipeline.labels.words import Words

_SUSPECT = 0.27  # score from which an image may belong to a group: one spread above the median
_GROUP = 0.5  # mean score from which a group is one of strangers, where no threshold is known
_FEWEST = 9  # images that a picture shows
_MOST = 2000  # images that are compared each with each
_TOLD = 5  # groups that are named
_AS_ALIKE = 0.7  # of what the images of a class are alike


def strangers(
    batch: Batch, scores: np.ndarray, words: Callable[[], Words] | None = None
) -> list[Notice]:
    """Return a notice for each group of images alike that fit no class, the largest first.

    Images that hardly fit are joined, the most alike first, as long as the groups are about as
    alike within as the images of a class are (average linkage: Sokal and Michener, 1958). Of the
    groups those are named whose mean score would turn an image away.

    Args:
        batch: all images of a run.
        scores: (n,) from `unlike`.
        words: gives words to hint with; asked only where there is a group.
    """
    rows = np.flatnonzero((scores >= _SUSPECT) & (batch.known < 0))
    if len(rows) < _FEWEST:
        return []
    limit = reject_threshold(scores, "auto") or _GROUP
    look = _Look(batch)
    cut = _AS_ALIKE * look.likeness_of_classes(scores)
    rows, group = _joined(look, rows, cut)
    found = []
    for number in range(int(group.max()) + 1):
        members = rows[group == number]
        if len(members) < _FEWEST or scores[members].mean() < limit:
            continue
        seen = look.see(members)
        found.append(members[np.argsort(-(seen @ seen.mean(axis=0)), kind="stable")])
    found.sort(key=len, reverse=True)
    vocabulary = words() if words is not None and found else None
    return [_notice(batch, members, vocabulary) for members in found[:_TOLD]]


def _notice(batch: Batch, members: np.ndarray, words: Words | None) -> Notice:
    hint = ""
    if words is not None:
        vectors = batch.spaces[0].vectors
        mean = vectors[np.sort(members)].mean(axis=0, dtype=np.float32) - centre_of(vectors)
        hint = f" (nearest words: {', '.join(words.nearest(mean))})"
    sentence = (
        f"{batch.in_words(len(members), len(batch.plain)).capitalize()} images alike fit no "
        f"prompt{hint}. If they belong to a class, give it a prompt or an example of them; if not, "
        "add a prompt for them that leads to the background."
    )
    return Notice("none", None, members, sentence)


class _Look:
    """All spaces of a batch together; products are likenesses."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        some = some_rows(len(batch.plain), _MOST)
        sights = tuple(Sight.of(space.vectors[some], batch.votes[some]) for space in batch.spaces)
        self._eye = Eye(sights, (1 / len(sights),) * len(sights))

    def see(self, rows: np.ndarray) -> np.ndarray:
        """Return images (rows, dims) as they are compared."""
        return self._eye.see([space.vectors[rows] for space in self._batch.spaces])

    def likeness_of_classes(self, scores: np.ndarray) -> float:
        """Return how alike two images of a class are, of the class in the middle."""
        rows = some_rows(len(scores), _MOST)
        rows = rows[scores[rows] < _SUSPECT]
        labels = self._batch.plain[rows].argmax(axis=1)
        seen = self.see(rows)
        alike = []
        for number in np.unique(labels):
            own = seen[labels == number]
            count = len(own)
            if count > 2:
                pairs = (own.sum(axis=0) ** 2).sum() - (own**2).sum()
                alike.append(float(pairs) / (count * (count - 1)))
        return max(float(np.median(alike)), 0.0) if alike else 0.0


def _joined(look: _Look, rows: np.ndarray, cut: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and the group (m,) of each, from 0. Beyond 2,000 images the others join the group
    that they are most like, where they are enough like it; those that are not are left out."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    some = rows[some_rows(len(rows), _MOST)]
    seen = look.see(some)
    alike = seen @ seen.T
    apart = np.maximum(alike.max() - alike, 0).astype(np.float64)
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average")
    group = fcluster(tree, max(float(alike.max()) - cut, 0.0), "distance") - 1
    rest = np.setdiff1d(rows, some)
    if not len(rest):
        return some, group
    counts = np.bincount(group)
    means = np.zeros((len(counts), seen.shape[1]), np.float32)
    np.add.at(means, group, seen)
    means /= counts[:, None]
    means[counts < _FEWEST] = 0
    joined = np.full(len(rest), -1)
    for part in blocks(len(rest)):
        to = look.see(rest[part]) @ means.T
        best = to.argmax(axis=1)
        joined[part] = np.where(to[np.arange(len(best)), best] >= cut, best, -1)
    near = joined >= 0
    return np.concatenate([some, rest[near]]), np.concatenate([group, joined[near]])
