"""Threads work ahead: in order, within bounds, and what was begun is not lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.pool import work_ahead

_LONG = 30.0  # seconds, until a test that hangs fails


def test_results_come_in_the_order_of_the_items() -> None:
    later = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert later.wait(_LONG)  # the first is done last
        if item == 3:
            later.set()
        return item * item

    assert list(work_ahead(work, range(7), workers=2, ahead=4)) == [0, 1, 4, 9, 16, 25, 36]
    assert list(work_ahead(work, [], workers=2, ahead=4)) == []


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_items_are_taken_than_there_is_room_for(ahead: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with contextlib.closing(
        work_ahead(lambda item: item, items(), workers=3, ahead=ahead)
    ) as results:
        assert taken == []
        for number, result in enumerate(results):
            assert result == number
            assert len(taken) == min(20, number + 1 + ahead)


def test_the_next_item_is_worked_on_while_one_is_looked_at() -> None:
    begun = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            begun.set()
        return item

    with contextlib.closing(work_ahead(work, range(9), workers=1, ahead=1)) as results:
        assert next(results) == 0
        assert begun.wait(_LONG)


def test_as_many_threads_as_asked_for_and_each_is_initialized() -> None:
    together, ready = threading.Barrier(3), threading.local()
    made: list[str] = []

    def initialize() -> None:
        ready.yes = True
        made.append(threading.current_thread().name)

    def work(item: int) -> bool:
        together.wait(_LONG)  # passes only where three are at it
        return bool(ready.yes)

    results = work_ahead(work, range(9), workers=3, ahead=9, name="crowd", initializer=initialize)
    assert all(results)
    assert len(made) == 3 and all(name.startswith("crowd") for name in made)


def test_what_was_begun_is_yielded_before_the_error_is_raised() -> None:
    second, failing = threading.Event(), threading.Event()
    asked: list[int] = []

    def work(item: int) -> int:
        asked.append(item)
        if item == 0:
            assert second.wait(_LONG)
            failing.set()
            raise ValueError("the first")
        second.set()
        assert failing.wait(_LONG)
        return item

    found = []
    with pytest.raises(ValueError, match="the first"):
        for result in work_ahead(work, range(100), workers=2, ahead=50):
            found.append(result)
    assert found[0] == 1 and found == sorted(found)
    assert sorted(asked) == [0, *found] and len(asked) < 50


def test_a_failure_far_ahead_is_noticed_before_its_turn() -> None:
    stuck, asked = threading.Event(), []

    def work(item: int) -> int:
        asked.append(item)
        if item == 0:
            assert stuck.wait(_LONG)
        elif item == 5:
            threading.Timer(0.2, stuck.set).start()
            raise ValueError("the fifth")
        elif item == 7:
            raise ValueError("never begun")
        return item

    found = []
    with pytest.raises(ValueError, match="the fifth"):
        for result in work_ahead(work, range(1000), workers=2, ahead=900):
            found.append(result)
    assert found == [0, 1, 2, 3, 4] and sorted(asked) == [0, 1, 2, 3, 4, 5]


def test_closing_begins_nothing_more_and_waits_for_what_is_under_way() -> None:
    under_way, finished = threading.Event(), []

    def work(item: int) -> int:
        if item == 1:
            under_way.set()
            time.sleep(0.1)
        finished.append(item)
        return item

    results = work_ahead(work, range(100), workers=1, ahead=50)
    assert next(results) == 0
    assert under_way.wait(_LONG)
    results.close()
    assert finished == [0, 1]
    assert list(results) == []


@pytest.mark.skipif(os.name == "nt", reason="needs signals that reach one thread")
def test_an_interruption_loses_nothing_that_was_begun() -> None:
    main, waiting = threading.main_thread().ident, threading.Event()
    assert main is not None
    asked: list[int] = []
    interrupted = threading.Event()

    def work(item: int) -> int:
        asked.append(item)
        if item == 1:
            assert waiting.wait(_LONG)
            time.sleep(0.3)  # until it does
            signal.pthread_kill(main, signal.SIGINT)
            assert interrupted.wait(_LONG)
            time.sleep(0.3)
        return item

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    results = work_ahead(work, range(1000), workers=1, ahead=20)
    found = [next(results)]
    waiting.set()
    try:
        with pytest.raises(KeyboardInterrupt):
            for result in results:
                found.append(result)
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [0, 1] == asked
