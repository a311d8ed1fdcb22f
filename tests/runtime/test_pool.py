"""The pool lends each item to one caller, serves callers in the order of arrival, and loses no item."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cosybuild.errors import PoolExhausted
from cosybuild.runtime.pool import Pool


def test_callers_get_items_in_the_order_of_arrival() -> None:
    pool: Pool[int] = Pool(range(1), "a test", 10)
    served: list[int] = []

    def call(number: int) -> None:
        with pool.lend():
            served.append(number)

    item = pool.take()
    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=call, args=(number,)))
        threads[-1].start()
        while len(pool._queue) <= number:
            time.sleep(0.001)
    pool.give(item)
    for thread in threads:
        thread.join(10)
    assert served == [0, 1, 2, 3, 4]
    assert pool.idle == 1


def test_a_thread_that_takes_again_at_once_does_not_pass_a_waiting_one() -> None:
    pool: Pool[int] = Pool(range(1), "a test", 10)
    item, done = pool.take(), threading.Event()

    def wait() -> None:
        with pool.lend():
            done.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not pool._queue:
        time.sleep(0.001)
    pool.give(item)
    with pool.lend():
        assert done.is_set()
    waiting.join(10)


def test_a_caller_waits_until_the_timeout() -> None:
    pool: Pool[str] = Pool(["a"], "a test", 0.02)
    with pool.lend():
        begun = time.monotonic()
        with pytest.raises(PoolExhausted, match=r"all 1 execution contexts of a test were busy for 0\.0"):
            pool.take()
        assert time.monotonic() - begun >= 0.02
    assert pool.take() == "a"


def test_no_item_is_lost_or_lent_twice_when_timeouts_and_returns_coincide() -> None:
    pool: Pool[int] = Pool(range(2), "a test", 0.0005)
    lent: set[int] = set()
    outcomes = set()

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(200):
            try:
                with pool.lend() as item:
                    assert item not in lent
                    lent.add(item)
                    time.sleep(chance.random() * 0.0005)
                    lent.remove(item)
                outcomes.add("served")
            except PoolExhausted:
                outcomes.add("exhausted")

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert outcomes == {"served", "exhausted"}
    assert (pool.idle, lent) == (2, set())
