"""A fixed number of execution contexts, lent to one caller at a time."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from cosybuild.errors import PoolExhausted

T = TypeVar("T")


class Pool(Generic[T]):
    """A pool that lends each item to one caller; further callers wait up to `timeout` seconds.

    Args:
        items: the items to lend, at least one.
        what: name of the items' owner, for the error.
        timeout: seconds; None waits without limit.
    """

    def __init__(self, items: Sequence[T], what: str, timeout: float | None) -> None:
        assert items, "a pool of nothing would block every caller"
        self.size = len(items)
        self._what = what
        self._timeout = timeout
        # Last in, first out: the memory of the context that ran last is still in the cache.
        self._idle: queue.LifoQueue[T] = queue.LifoQueue()
        for item in items:
            self._idle.put(item)

    def take(self) -> T:
        """Lend an item to the caller, who must return it through `give`.

        Raises:
            PoolExhausted: no item was returned before the timeout.
        """
        begun = time.monotonic()
        try:
            return self._idle.get(timeout=self._timeout)
        except queue.Empty:
            waited = time.monotonic() - begun
            raise PoolExhausted(
                f"all {self.size} execution contexts of {self._what} were busy for {waited:.3g} s.",
                hint=f"Next: raise concurrency={self.size} (each context takes memory) or timeout={self._timeout:g}, "
                "or make fewer calls at a time.",
            ) from None

    def give(self, item: T) -> None:
        """Put an item that `take` lent back into the pool."""
        self._idle.put(item)

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
