"""Lengths of calls recorded in production: read them, choose typical ones, and propose profiles with little padding."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cosybuild.errors import ConfigurationError
from cosybuild.models.profile import SizeRange, frames_from_text
from cosybuild.system.files import read_regular

Counts = np.ndarray[Any, np.dtype[np.int64]]

MAX_BYTES = 2**28
"""The largest permitted size, in bytes, of a file of lengths; it can hold about fifty million lines."""

_MOST_CALLED = 2**62
"""The limit for the sum of the frames of all calls, so that every sum fits into 64 bits."""

Histogram = Mapping[int, int]
"""Length in frames -> number of calls with that length; both positive."""


@dataclass(frozen=True)
class Proposal:
    """Proposed ranges of lengths, one for each profile, shortest first.

    Attributes:
        ranges: the ranges; together they cover every length from the shortest to the longest.
        calls: for each range, the number of calls in the histogram that it serves.
        padding: if every call is padded to the max of its range, the added frames divided by the requested frames.
        single_padding: the same ratio for one range that serves all calls.
    """

    ranges: tuple[SizeRange, ...]
    calls: tuple[int, ...]
    padding: float
    single_padding: float


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
    """Return at most `count` different lengths, at equally spaced quantiles of the calls.

    The shortest and the longest length are included if `count` is at least 2.
    """
    lengths, counts = _sorted(histogram)
    reached = np.cumsum(counts)
    wanted = np.linspace(0, reached[-1], count)
    return tuple(sorted({int(length) for length in lengths[np.searchsorted(reached, wanted)]}))


def propose_ranges(histogram: Histogram, count: int) -> Proposal:
    """Return at most `count` ranges whose total padding is the smallest possible.

    The method is dynamic programming with n^2 k steps for n different lengths and k ranges. An optimal set of ranges
    divides the sorted lengths into runs. The best division into k runs consists of the best division of a prefix into
    k - 1 runs, and one more run. If several divisions have the same padding, the one with the fewest ranges is used.

    Args:
        histogram: length in frames -> number of calls; not empty.
        count: the largest number of ranges, at least 1.
    """
    lengths, counts = _sorted(histogram)
    calls, frames = (np.concatenate(([0], np.cumsum(values))) for values in (counts, counts * lengths))
    size = len(lengths)
    # best[k][j] is the least padding of the first j lengths with k ranges, none of them empty. cuts[k - 1][j] is the
    # index of the length at which the last of these ranges begins.
    best = [np.where(np.arange(size + 1) == 0, 0.0, np.inf)]
    cuts: list[Counts] = []
    for _ in range(min(count, size)):
        following, cut = np.full(size + 1, np.inf), np.zeros(size + 1, np.int64)
        for end in range(1, size + 1):
            begin = np.arange(end)
            padded = best[-1][:end] + lengths[end - 1] * (calls[end] - calls[begin]) - (frames[end] - frames[begin])
            cut[end] = int(np.argmin(padded))
            following[end] = padded[cut[end]]
        best.append(following)
        cuts.append(cut)
    used = int(np.argmin([row[size] for row in best[1:]])) + 1
    bounds = [size]
    for begins in reversed(cuts[:used]):
        bounds.append(int(begins[bounds[-1]]))
    bounds.sort()
    ranges, served, low = [], [], int(lengths[0])
    for first, end in pairwise(bounds):
        high = int(lengths[end - 1])
        ranges.append(SizeRange(low, _median(lengths[first:end], counts[first:end]), high))
        served.append(int(calls[end] - calls[first]))
        low = high + 1
    asked = float(frames[-1])
    return Proposal(tuple(ranges), tuple(served), float(best[used][size]) / asked, float(best[1][size]) / asked)


def yaml_of(proposal: Proposal, symbol: str, name: str) -> str:
    """Return the text of an option file of the group `trt_profile` with the proposed ranges.

    Args:
        proposal: the ranges.
        symbol: the axis that the ranges are for.
        name: the name of the option.
    """
    total = sum(proposal.calls)
    lines = [
        f"# Proposed from {total:,} lengths: padding {proposal.padding:.1%}, with one profile "
        f"{proposal.single_padding:.1%}.",
        f"name: {name}",
        "profiles:",
    ]
    for sizes, calls in zip(proposal.ranges, proposal.calls, strict=True):
        stated = f"{{min: {sizes.min}, opt: {sizes.opt}, max: {sizes.max}}}"
        lines.append(f"  - {symbol}: {stated} # {calls / total:.1%} of the calls")
    return "\n".join(lines) + "\n"


def _line(where: str, stated: str, frames_per_second: float | None) -> tuple[int, int]:
    length, comma, count = (part.strip() for part in stated.partition(","))
    if comma and re.fullmatch(r"0*[1-9][0-9]{0,17}", count) is None:
        raise ConfigurationError(
            f"{where}: the count is {count[:40]!r}; a positive whole number of at most 18 digits is expected."
        )
    return frames_from_text(where, length, frames_per_second), int(count) if comma else 1


def _sorted(histogram: Histogram) -> tuple[Counts, Counts]:
    assert histogram, "an empty histogram"
    assert all(length > 0 and count > 0 for length, count in histogram.items()), histogram
    pairs = sorted(histogram.items())
    return np.array([length for length, _ in pairs], np.int64), np.array([count for _, count in pairs], np.int64)


def _median(lengths: Counts, counts: Counts) -> int:
    reached = np.cumsum(counts)
    return int(lengths[int(np.searchsorted(reached, reached[-1] / 2))])
