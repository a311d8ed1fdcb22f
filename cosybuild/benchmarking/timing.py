"""Statistics of repeated time measurements: medians with confidence intervals, and the comparison of two series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Outcome(str, Enum):
    """The result of comparing the times of a first series with those of a second one."""

    faster = "faster"
    slower = "slower"
    same = "no significant difference"
    undecided = "too few rounds to tell"


@dataclass(frozen=True)
class Interval:
    """The median of a sample, and a confidence interval of the true median.

    Attributes:
        median: the sample's median.
        low: lower end of the interval, a value of the sample.
        high: upper end of the interval, a value of the sample.
        coverage: probability with which such an interval contains the true median. With too few values it is below the
            requested confidence; `low` and `high` are then the smallest and the largest value.
    """

    median: float
    low: float
    high: float
    coverage: float

    @property
    def relative_half_width(self) -> float:
        """Half of the interval's width divided by the median; 0 if the interval is a point."""
        return 0.0 if self.high == self.low else (self.high - self.low) / 2 / self.median


@dataclass(frozen=True)
class Verdict:
    """The result of comparing two series.

    Attributes:
        ratio: time of the first series divided by that of the second, as median and interval over all rounds; below 1
            the first series is faster.
        outcome: the decision; see `judge`.
    """

    ratio: Interval
    outcome: Outcome


def median(values: Sequence[float]) -> float:
    """Return the median: the middle value, or the mean of the two middle values."""
    assert values
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def median_interval(values: Sequence[float], confidence: float) -> Interval:
    """Return the median and its confidence interval, computed from order statistics.

    For every continuous distribution, the number of n independent values that are below the true median has the
    distribution Binomial(n, 1/2). So the k-th smallest and the k-th largest value enclose the true median with
    probability 1 - 2 P(Binomial(n, 1/2) < k). k is the largest number for which this is at least `confidence`. Times
    have a skewed distribution and outliers, so no normal distribution is assumed and no value is discarded.

    Args:
        values: at least one value, in any order.
        confidence: the requested coverage, in 0..1.
    """
    ordered = sorted(values)
    count = len(ordered)
    assert count
    total = 2**count
    tail = 1  # number of ways in which fewer than k values fall below the median; here k = 1
    rank, coverage = 1, 1 - 2 / total
    for k in range(2, count // 2 + 1):
        tail += math.comb(count, k - 1)
        within = 1 - 2 * tail / total
        if within < confidence:
            break
        rank, coverage = k, within
    return Interval(median(ordered), ordered[rank - 1], ordered[-rank], max(0.0, coverage))


def judge(first: Sequence[float], second: Sequence[float], *, confidence: float, margin: float) -> Verdict:
    """Compare the times of two series that were measured in the same rounds.

    Each round gives one ratio, so anything that slows down a whole round (another process, a lower clock rate) cancels.
    The interval of the median ratio comes from `median_interval`; this is the inversion of the sign test. The first
    series is faster if the whole interval is below 1 - margin, and slower if it is above 1 + margin. Otherwise the
    difference is not significant. The outcome is `undecided` if there are too few rounds for an interval of this
    confidence.

    Args:
        first: times of the first series, one for each round, all positive.
        second: times of the second series in the same rounds and order, all positive.
        confidence: confidence of this one comparison; for several comparisons see `family_confidence`.
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
    """Return the confidence of each comparison with which all of them together have `confidence` (Bonferroni)."""
    return 1 - (1 - confidence) / max(1, comparisons)


def rounds_needed(confidence: float) -> int:
    """Return the smallest number of values whose minimum and maximum enclose the true median with `confidence`."""
    return max(1, math.ceil(1 - math.log2(1 - confidence)))
