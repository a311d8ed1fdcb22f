"""A pool of a fixed number of execution contexts, each lent to one caller at a time, in the order of arrival."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from cosybuild.errors import PoolExhausted

T = TypeVar("T")


class _Waiting(Generic[T]):
    """One waiting caller.

    Attributes:
        turn: set when the caller has got an item.
        given: the item that the caller has got; empty before.
    """

    def __init__(self) -> None:
        self.turn = threading.Event()
        self.given: list[T] = []


class Pool(Generic[T]):
    """A pool that lends each item to one caller at a time; further callers wait up to `timeout` seconds.

    A returned item goes directly to the caller that has waited longest. If it went back to the pool, a thread that
    returns an item and at once takes one again would overtake the waiting threads, which have to wake up first and
    could reach their timeout.

    Args:
        items: the items to lend, at least one.
        what: name of the artifact or voice that the items belong to, for the error.
        timeout: seconds; None waits without limit.
    """

    def __init__(self, items: Sequence[T], what: str, timeout: float | None) -> None:
        assert items, "a pool of nothing would block every caller"
        self.size = len(items)
        self._what = what
        self._timeout = timeout
        self._lock = threading.Lock()
        # The item that was returned last is lent first, because the memory of its context is still in the cache.
        self._idle = list(items)
        self._queue: deque[_Waiting[T]] = deque()

    @property
    def idle(self) -> int:
        """The number of items that are not lent."""
        return len(self._idle)

    def take(self) -> T:
        """Lend an item to the caller, who must return it with `give`.

        Raises:
            PoolExhausted: no item was free before the timeout.
        """
        with self._lock:
            # Nobody waits while an item is idle, because `give` serves the queue first.
            if self._idle:
                return self._idle.pop()
            waiting: _Waiting[T] = _Waiting()
            self._queue.append(waiting)
        begun, interrupted = time.monotonic(), True
        try:
            waiting.turn.wait(self._timeout)
            interrupted = False
        finally:
            self._leave(waiting)
            # After an interrupt such as Ctrl-C, an item that `give` gave to the caller meanwhile goes back to the pool.
            if interrupted:
                for item in waiting.given:
                    self.give(item)
        if waiting.given:
            return waiting.given[0]
        waited = time.monotonic() - begun
        raise PoolExhausted(
            f"all {self.size} execution contexts of {self._what} were busy for {waited:.3g} s.",
            hint=f"Next: raise concurrency={self.size} (each context takes memory) or timeout={self._timeout:g}, "
            "or make fewer calls at a time.",
        )

    def give(self, item: T) -> None:
        """Return an item that `take` lent.

        It goes to the caller that has waited longest, or into the pool if nobody waits.
        """
        with self._lock:
            if not self._queue:
                self._idle.append(item)
                return
            waiting = self._queue.popleft()
            waiting.given.append(item)
        waiting.turn.set()

    @contextmanager
    def lend(self) -> Iterator[T]:
        """Lend an item for a `with` block; it is returned even if the block raises.

        Raises:
            PoolExhausted: see `take`.
        """
        item = self.take()
        try:
            yield item
        finally:
            self.give(item)

    def _leave(self, waiting: _Waiting[T]) -> None:
        """Remove a caller from the queue. Afterwards `give` can no longer give it an item."""
        with self._lock:
            if not waiting.given:
                self._queue.remove(waiting)
