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
    """Callers beyond the number of items wait in line, at most `timeout` seconds.

    Args:
        items: at least one.
        what: names the items' owner in the error.
        timeout: seconds; None waits for ever.
    """

    def __init__(self, items: Sequence[T], what: str, timeout: float | None) -> None:
        assert items, "a pool of nothing would block every caller"
        self.size = len(items)
        self._what = what
        self._timeout = timeout
        # Last in, first out: a context that has just run has its memory warm.
        self._idle: queue.LifoQueue[T] = queue.LifoQueue()
        for item in items:
            self._idle.put(item)

    def take(self) -> T:
        """An item that nobody else has; it must come back through `give`.

        Raises:
            PoolExhausted: none came back in time.
        """
        begun = time.monotonic()
        try:
            return self._idle.get(timeout=self._timeout)
        except queue.Empty:
            waited = time.monotonic() - begun
            raise PoolExhausted(
                f"all {self.size} execution contexts of {self._what} were busy for {waited:.3g} s.",
                hint=f"Next: raise concurrency={self.size} (each context takes memory) or timeout={self._timeout:g}, "
                "or take fewer calls at a time.",
            ) from None

    def give(self, item: T) -> None:
        """Return an item that `take` gave."""
        self._idle.put(item)

    @contextmanager
    def lend(self) -> Iterator[T]:
        """An item for the length of a `with` block; it comes back whatever happens in it.

        Raises:
            PoolExhausted: see `take`.
        """
        item = self.take()
        try:
            yield item
        finally:
            self.give(item)
