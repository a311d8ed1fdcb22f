"""Numbers, times and sizes as text for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any


def seconds(value: float | None) -> str:
    """Return a duration in seconds as text, e.g. `0.4 s`, `12.3 s` or `3 min 20 s`; `-` for None."""
    if value is None:
        return "-"
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def moment(value: float | None) -> str:
    """Return a time, given in seconds since the epoch, as UTC, e.g. `2026-03-01 09:30:12 UTC`; `-` for None."""
    return "-" if value is None else f"{datetime.fromtimestamp(value, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def latency(value: float) -> str:
    """Return a duration in seconds as three digits with a unit that fits, e.g. `812 µs`, `41.2 ms` or `3.05 s`."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= factor:
            return f"{value / factor:.{max(0, 2 - int(math.log10(value / factor)))}f} {unit}"
    return f"{value * 1e9:.0f} ns"


def size(value: float | None) -> str:
    """Return a number of bytes in decimal units, e.g. `812 B`, `35 kB`, `285 MB` or `1.32 GB`; `-` for None."""
    if value is None:
        return "-"
    for factor, unit, digits in ((1e9, "GB", 2), (1e6, "MB", 0), (1e3, "kB", 0)):
        if value >= factor:
            return f"{value / factor:.{digits}f} {unit}"
    return f"{value:.0f} B"


def frames(value: int, per_second: float | None) -> str:
    """Return a length in frames, and in seconds if the frame rate is known, e.g. `3000 (60 s)`.

    Args:
        value: the length in frames.
        per_second: the frame rate; None if it is not known.
    """
    return f"{value}" if per_second is None else f"{value} ({value / per_second:.3g} s)"


def action(step: Mapping[str, Any]) -> str:
    """Return the action of a step as one word for people: `cached` for a hit, else the action itself."""
    return {"hit": "cached"}.get(str(step["action"]), str(step["action"]))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural, e.g. `1 step` or `3 steps`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
