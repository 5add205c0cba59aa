"""One process's part of the batches that several train on together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any


class Share:
    """The numbers that one of several processes takes of every batch, as a sampler for its loader.

    Each number belongs to one process: of a batch of n each has n/count, those with a lower rank
    one more where it does not come out even, which is in the last batch alone.

    Args:
        order: the numbers of an epoch, the same in every process; iterated over anew for each.
        rows: how many of them are taken.
        batch: numbers in a whole batch, a multiple of `count`; the last one may have fewer.
        count: processes.
        rank: of this one, from 0.
        least: so many numbers stand for this process's part at least, as each process must take as
            many steps as any other: what is lacking is filled up with the part again, or, where it
            is empty, with the batch's first number, which then weighs nothing. At most batch/count.

    Attributes:
        weights: what part of each batch is this process's, from 0 to 1.
    """

    def __init__(
        self, order: Iterable[int], rows: int, batch: int, count: int, rank: int, least: int
    ) -> None:
        self._order, self._count, self._rank, self._least = order, count, rank, least
        self._sizes = [batch] * (rows // batch) + [rows % batch] * (rows % batch > 0)
        owns = [len(self._own(size)) for size in self._sizes]
        self._taken = sum(max(own, least) for own in owns)
        self.weights = [own / size for own, size in zip(owns, self._sizes, strict=True)]

    def __len__(self) -> int:
        return self._taken

    def __iter__(self) -> Iterator[int]:
        numbers = iter(self._order)
        for size in self._sizes:
            whole = list(islice(numbers, size))
            part = [whole[at] for at in self._own(size)]
            yield from part
            yield from ((part or whole[:1]) * self._least)[: max(self._least - len(part), 0)]

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the order knows its epoch. ultralytics calls this when the loader may have begun
        to read the next one already."""

    def _own(self, size: int) -> range:
        """Where in a batch of that size this process's numbers stand."""
        each, more = divmod(size, self._count)
        start = self._rank * each + min(self._rank, more)
        return range(start, start + each + (self._rank < more))


class Weighed:
    """A criterion of ultralytics' whose losses weigh as much as their batches, one after another.

    Args:
        criterion: of predictions and a batch: its loss, and that again by name.
        weights: of the batches, in the order in which they come.
    """

    def __init__(self, criterion: Any, weights: Iterable[float]) -> None:
        self._criterion, self._weights = criterion, iter(weights)

    def __call__(self, predictions: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        loss, named = self._criterion(predictions, batch)
        weight = next(self._weights)
        return loss * weight, {name: value * weight for name, value in named.items()}
