"""Statistics of repeated time measurements: medians with confidence intervals, and comparisons of two series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Outcome(str, Enum):
    """The outcome of comparing the first series with the second."""

    faster = "faster"
    slower = "slower"
    same = "no significant difference"
    undecided = "too few rounds to tell"


@dataclass(frozen=True)
class Interval:
    """A sample's median and a confidence interval of the true median.

    Attributes:
        median: the sample's median.
        low: lower end of the interval, a value of the sample.
        high: upper end of the interval, a value of the sample.
        coverage: probability with which such an interval contains the true median. With too few samples it is below
            the requested confidence; then `low` and `high` are the smallest and the largest value.
    """

    median: float
    low: float
    high: float
    coverage: float

    @property
    def relative_half_width(self) -> float:
        """Half the interval's width over the median; 0 if the interval is a point."""
        return 0.0 if self.high == self.low else (self.high - self.low) / 2 / self.median


@dataclass(frozen=True)
class Verdict:
    """The result of one comparison.

    Attributes:
        ratio: the first's time over the second's in each round, as median and interval; below 1 the first is faster.
        outcome: the decision; see `judge`.
    """

    ratio: Interval
    outcome: Outcome


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two middle values."""
    assert values
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def median_interval(values: Sequence[float], confidence: float) -> Interval:
    """Return the median and its order-statistic confidence interval.

    For every continuous distribution, the number of n independent values below the true median is binomial (n, 1/2).
    So the k-th smallest and the k-th largest value enclose it with probability 1 - 2 P(Binomial(n, 1/2) < k); k is the
    largest number that keeps `confidence`. Times are skewed and have outliers, so no normal distribution is assumed,
    and no value is discarded.

    Args:
        values: at least one value, in any order.
        confidence: the requested coverage, in 0..1.
    """
    ordered = sorted(values)
    count = len(ordered)
    assert count
    total = 2**count
    tail = 1  # ways in which fewer than k values fall below the median, for k = 1
    rank, coverage = 1, 1 - 2 / total
    for k in range(2, count // 2 + 1):
        tail += math.comb(count, k - 1)
        within = 1 - 2 * tail / total
        if within < confidence:
            break
        rank, coverage = k, within
    return Interval(median(ordered), ordered[rank - 1], ordered[-rank], max(0.0, coverage))


def judge(first: Sequence[float], second: Sequence[float], *, confidence: float, margin: float) -> Verdict:
    """Compare two series that were measured in the same rounds.

    Each round gives one ratio, so that anything that slows down a whole round (another process, a lower clock) cancels.
    The interval of the median ratio is that of `median_interval`, the inversion of the sign test. The first is faster
    if the whole interval is below 1 - margin, and slower if it is above 1 + margin; otherwise the difference is not
    significant. With too few rounds for an interval of this confidence the outcome is `undecided`.

    Args:
        first: times of the first, one per round, all positive.
        second: times of the second in the same rounds and order, all positive.
        confidence: confidence of this one comparison; see `family_confidence` for several.
        margin: relative difference that is too small to matter.
    """
    assert len(first) == len(second)
    ratio = median_interval([a / b for a, b in zip(first, second, strict=True)], confidence)
    if ratio.coverage < confidence:
        return Verdict(ratio, Outcome.undecided)
    if ratio.high < 1 - margin:
        return Verdict(ratio, Outcome.faster)
    if ratio.low > 1 + margin:
        return Verdict(ratio, Outcome.slower)
    return Verdict(ratio, Outcome.same)


def family_confidence(confidence: float, comparisons: int) -> float:
    """Return the confidence that each comparison needs so that all together have `confidence` (Bonferroni)."""
    return 1 - (1 - confidence) / max(1, comparisons)


def rounds_needed(confidence: float) -> int:
    """Return the smallest number of values whose minimum and maximum enclose the median with `confidence`."""
    return max(1, math.ceil(1 - math.log2(1 - confidence)))
