"""What repeated measurements of time can tell: a median with its interval, and whether two things differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Outcome(str, Enum):
    """What a comparison says of the first against the second."""

    faster = "faster"
    slower = "slower"
    same = "no significant difference"
    undecided = "too few rounds to tell"


@dataclass(frozen=True)
class Interval:
    """A median and where the true one lies.

    Attributes:
        median: of the sample.
        low, high: two of the sample's values.
        coverage: probability with which such an interval holds the true median; below what was asked for
            where there are too few samples, and then `low` and `high` are the smallest and the largest.
    """

    median: float
    low: float
    high: float
    coverage: float

    @property
    def relative_half_width(self) -> float:
        """Half the interval's width over the median; 0 where the interval is a point."""
        return 0.0 if self.high == self.low else (self.high - self.low) / 2 / self.median


@dataclass(frozen=True)
class Verdict:
    """One comparison.

    Attributes:
        ratio: of the first's time to the second's, round by round; below 1 the first is faster.
        outcome: see `judge`.
    """

    ratio: Interval
    outcome: Outcome


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    assert values
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def median_interval(values: Sequence[float], confidence: float) -> Interval:
    """The order-statistic interval of the median.

    Whatever the distribution, the number of n independent values below the true median is binomial
    (n, 1/2). So the k-th smallest and the k-th largest enclose it with probability
    1 - 2 P(Binomial(n, 1/2) < k); k is the largest that keeps `confidence`. Times are skewed and have
    outliers, so no normal distribution is assumed, and nothing is thrown away.

    Args:
        values: at least one, in any order.
        confidence: wanted coverage, in 0..1.
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

    Each round gives one ratio, so that what slows a whole round down (another process, a lower clock)
    cancels. The interval of the median ratio is the one of `median_interval`, which is the sign test
    turned round: the first is faster where the whole interval lies below 1 - margin, slower where it lies
    above 1 + margin, and everything else is no significant difference. With too few rounds for an interval
    of this confidence nothing is decided.

    Args:
        first, second: times of the same rounds, in order; all positive.
        confidence: of this one comparison; see `family_confidence` for several.
        margin: relative difference below which nobody cares.
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
    """What each of several comparisons must hold so that all of them together hold `confidence` (Bonferroni)."""
    return 1 - (1 - confidence) / max(1, comparisons)


def rounds_needed(confidence: float) -> int:
    """The fewest values whose smallest and largest enclose the median with `confidence`."""
    return max(1, math.ceil(1 - math.log2(1 - confidence)))
