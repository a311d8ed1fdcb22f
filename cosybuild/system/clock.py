"""The clock of a build. Tests replace it by a clock that they control."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A wall clock and a monotonic clock."""

    def now(self) -> float:
        """Return the seconds since the epoch, for people and for comparisons with the times of files."""

    def elapsed(self) -> float:
        """Return the seconds of a monotonic clock. Only differences between two values have a meaning."""


class SystemClock:
    """The clocks of this machine."""

    def now(self) -> float:
        return time.time()

    def elapsed(self) -> float:
        return time.monotonic()


SYSTEM_CLOCK: Clock = SystemClock()
