"""Time as the engine sees it, so that a test can hold it still."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings: what the calendar says, and what a stopwatch says."""

    def now(self) -> float:
        """Seconds since the epoch, for people and for comparing with files."""

    def elapsed(self) -> float:
        """Seconds on a clock that is never set back; only differences have a meaning."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def elapsed(self) -> float:
        return time.monotonic()


SYSTEM_CLOCK: Clock = SystemClock()
