"""The clock of a build, which tests replace by one that they control."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A wall clock and a monotonic clock."""

    def now(self) -> float:
        """Return seconds since the epoch, for people and for comparison with times of files."""

    def elapsed(self) -> float:
        """Return seconds of a monotonic clock; only differences have a meaning."""


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> float:
        return time.time()

    def elapsed(self) -> float:
        return time.monotonic()


SYSTEM_CLOCK: Clock = SystemClock()
