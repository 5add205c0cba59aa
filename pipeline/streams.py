"""Pictures read and asked about batch by batch: on a CPU each core works on a batch of its own."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

from pipeline.machine import cores
from pipeline.pool import work_ahead

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def ask_in_batches(
    read: Callable[[Item], Any],
    ask: Callable[[list[Any]], Answer],
    items: Sequence[Item],
    batch: int,
    streams: int = 1,
) -> Generator[Answer, None, None]:
    """Yield what is answered to one batch of the items after the other, in their order.

    With several streams a thread for each reads a batch and asks about it, torch computing on that
    thread alone: no core waits for another at the end of every layer. With one, threads read ahead
    and the caller's own asks; so it is for a device that takes one batch at a time. Close it with
    `contextlib.closing`.

    Args:
        read: makes an item what `ask` takes; called in threads.
        ask: answers a list of what was read; with several streams called in threads.
        items: where there are too few for a full batch in each stream, batches are smaller.
        batch: items in one, at most.
        streams: batches that are asked about at a time.

    Raises:
        Exception: what `read` or `ask` raised, after the answers before it.
    """
    if streams > 1:
        size = max(1, min(batch, -(-len(items) // streams)))
        with torch_threads() as alone:
            yield from work_ahead(
                lambda part: ask([read(item) for item in part]),
                _parts(iter(items), size),
                workers=streams,
                ahead=2 * streams,
                name="answer",
                initializer=alone,
            )
        return
    coming = work_ahead(read, items, workers=cores(), ahead=2 * batch, name="decode")
    with contextlib.closing(coming) as ready:
        for part in _parts(ready, batch):
            yield ask(part)


def _parts(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while part := list(itertools.islice(items, size)):
        yield part


@contextlib.contextmanager
def torch_threads() -> Iterator[Callable[[], None]]:
    """Yield what sets a worker thread to compute on itself alone; afterwards all is as it was."""
    torch = sys.modules.get("torch")  # whoever computes with it has loaded it
    if torch is None:
        yield lambda: None
        return
    before = torch.get_num_threads()
    try:
        yield lambda: torch.set_num_threads(1)
    finally:
        # Some of the libraries below keep one number for the whole process.
        torch.set_num_threads(before)
