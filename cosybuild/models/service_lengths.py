"""Lengths of calls that were recorded in production: a reader of the file, and typical lengths of its calls."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

from cosybuild.errors import ConfigurationError
from cosybuild.models.shape_profile import frames_from_text
from cosybuild.system.files import read_regular

MAX_BYTES = 2**28
"""The largest permitted size, in bytes, of a file of lengths; it can hold about fifty million lines."""

_MOST_CALLED = 2**62
"""The limit for the sum of the frames of all calls, so that every sum fits into 64 bits."""

Histogram = Mapping[int, int]
"""Length in frames -> number of calls with that length; both positive."""


def read_lengths(path: Path, frames_per_second: float | None) -> dict[int, int]:
    """Read a histogram of lengths from a file with one `length` or `length,count` per line.

    A length is a number of frames or a duration (`1.5 s`), which is rounded up to whole frames. `#` begins a comment.

    Args:
        path: the file.
        frames_per_second: the frame rate for durations; None if the model has none.

    Returns:
        Length in frames -> number of calls, by increasing length.

    Raises:
        ConfigurationError: the file cannot be read, is too large or not a regular file, has no length, or has a line
            in another format.
    """
    try:
        text = read_regular(path, MAX_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The lengths in {path} cannot be read: {error}.",
            hint="Next: give a text file with one length on each line.",
        ) from error
    found: dict[int, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stated = line.partition("#")[0].strip()
        if stated:
            length, count = _line(f"{path}, line {number}", stated, frames_per_second)
            found[length] = found.get(length, 0) + count
    if not found:
        raise ConfigurationError(
            f"{path} holds no length.", hint="Next: write `length` or `length,count` on each line."
        )
    if sum(length * count for length, count in found.items()) >= _MOST_CALLED:
        raise ConfigurationError(
            f"{path} states calls of more than {_MOST_CALLED:,} frames together.", hint="Next: correct the counts."
        )
    return dict(sorted(found.items()))


def quantile_lengths(histogram: Histogram, count: int = 5) -> tuple[int, ...]:
    """Return at most `count` lengths at equally spaced quantiles of the calls, from the shortest to the longest.

    Args:
        histogram: not empty.
        count: at least 2.
    """
    lengths = sorted(histogram)
    reached = list(accumulate(histogram[length] for length in lengths))
    wanted = [-(-reached[-1] * index // (count - 1)) for index in range(count)]  # rounded up, in whole calls
    return tuple(sorted({lengths[bisect_left(reached, calls)] for calls in wanted}))


def _line(where: str, stated: str, frames_per_second: float | None) -> tuple[int, int]:
    length, comma, count = (part.strip() for part in stated.partition(","))
    if comma and re.fullmatch(r"0*[1-9][0-9]{0,17}", count) is None:
        raise ConfigurationError(
            f"{where}: the count is {count[:40]!r}; a positive whole number of at most 18 digits is expected."
        )
    return frames_from_text(where, length, frames_per_second), int(count) if comma else 1
