"""A proposal of profiles with little padding for the lengths that were recorded in production."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from cosybuild.models.service_lengths import Histogram
from cosybuild.models.shape_profile import SizeRange

Counts = np.ndarray[Any, np.dtype[np.int64]]


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


def _sorted(histogram: Histogram) -> tuple[Counts, Counts]:
    assert histogram, "an empty histogram"
    assert all(length > 0 and count > 0 for length, count in histogram.items()), histogram
    pairs = sorted(histogram.items())
    return np.array([length for length, _ in pairs], np.int64), np.array([count for _, count in pairs], np.int64)


def _median(lengths: Counts, counts: Counts) -> int:
    reached = np.cumsum(counts)
    return int(lengths[int(np.searchsorted(reached, reached[-1] / 2))])
