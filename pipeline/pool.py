"""Work that threads do ahead, in order: the one pool for embedding, timing, uploads and films."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def work_ahead(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    ahead: int,
    name: str = "ahead",
    initializer: Callable[[], None] | None = None,
) -> Generator[Result, None, None]:
    """Yield `work(item)` for one item after the other, in their order, while threads work ahead.

    Once an item has failed none is begun any more. Those under way are finished and yielded, so
    that nothing is lost that has been paid for, and then the error is raised. A person's Ctrl-C is
    such an error; after a second one nothing more is yielded. Closing the generator begins nothing
    more and waits for what is under way; close it with `contextlib.closing`, since the traceback of
    an error would keep it alive.

    Args:
        work: called in a thread.
        items: taken by the thread that iterates, as soon as there is room ahead.
        workers: threads.
        ahead: items taken beyond the one that is yielded, at most. A slow item holds the others up
            only when so many wait behind it.
        name: of the threads.
        initializer: called once in each thread, before its first item.

    Raises:
        Exception: what `work` raised, of the first item that failed in the order of the items.
    """
    halted = threading.Event()

    def unless_halted(item: Item) -> Result:
        if halted.is_set():
            raise _NotBegun
        try:
            return work(item)
        except BaseException:
            halted.set()
            raise

    queue = iter(items)
    waiting: deque[Future[Result]] = deque()
    failed: BaseException | None = None
    with ThreadPoolExecutor(workers, name, initializer) as pool:

        def refill() -> None:
            if not halted.is_set():
                new = itertools.islice(queue, ahead - len(waiting))
                waiting.extend(pool.submit(unless_halted, item) for item in new)

        try:
            refill()
            while waiting:
                first = waiting[0]
                try:
                    result = first.result()
                except BaseException as error:
                    halted.set()
                    of_the_item = first.done() and first.exception() is error
                    if of_the_item:
                        waiting.popleft()
                    elif failed is not None:
                        raise  # asked a second time to stop
                    if failed is None and not isinstance(error, _NotBegun):
                        failed = error
                    continue
                waiting.popleft()
                refill()
                yield result
        finally:
            halted.set()
    if failed is not None:
        raise failed


class _NotBegun(Exception):
    """An item whose turn had not come when another one failed."""
