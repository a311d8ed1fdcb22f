"""The statistics of time: the coverage of intervals, and the rate of false verdicts."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.benchmarking.timing import Outcome, family_confidence, judge, median, median_interval, rounds_needed

times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60)


@given(times)
def test_the_median_equals_that_of_the_standard_library(values: list[float]) -> None:
    assert median(values) == pytest.approx(statistics.median(values))


@given(times, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_encloses_the_sample_median_and_states_its_coverage(
    values: list[float], confidence: float
) -> None:
    interval = median_interval(values, confidence)
    assert interval.low <= interval.median <= interval.high
    assert {interval.low, interval.high} <= set(values)
    if interval.coverage < confidence:
        assert (interval.low, interval.high) == (min(values), max(values))
        assert len(values) < rounds_needed(confidence)


@pytest.mark.parametrize(
    ("count", "ranks"),
    # Known table of 95 % confidence intervals of the median (ranks counted from 1).
    [(6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (50, (18, 33))],
)
def test_the_ranks_equal_those_of_the_binomial_table(count: int, ranks: tuple[int, int]) -> None:
    interval = median_interval(list(range(1, count + 1)), 0.95)
    assert (interval.low, interval.high) == ranks
    low, high = ranks
    inside = sum(math.comb(count, k) for k in range(low, high)) / 2**count
    assert interval.coverage == pytest.approx(inside)
    assert inside >= 0.95


def test_below_six_values_the_interval_is_the_smallest_and_largest_value_with_their_coverage() -> None:
    for count, coverage in ((1, 0.0), (2, 0.5), (3, 0.75), (4, 0.875), (5, 0.9375)):
        interval = median_interval([float(n) for n in range(count)], 0.95)
        assert (interval.low, interval.high, interval.coverage) == (0.0, count - 1, coverage)


def test_a_coverage_equal_to_the_limit_is_enough() -> None:
    # Of six values the second smallest and largest cover 1 - 2 (1 + 6) / 64.
    interval = median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.78125)
    assert (interval.low, interval.high, interval.coverage) == (2.0, 5.0, 0.78125)
    # Of four values the middle two cover 3 / 8; three values have no such interval.
    assert median_interval([1.0, 2.0, 3.0, 4.0], 0.375).coverage == 0.375
    assert median_interval([1.0, 2.0, 3.0], 0.1).coverage == 0.75
    assert judge([1.0, 1.0], [2.0, 2.0], confidence=0.5, margin=0.0).outcome is Outcome.faster


def test_the_interval_covers_the_true_median_as_often_as_it_states() -> None:
    # Log-normal with outliers, as times are; its median is exp(0) = 1.
    draw = random.Random(7)
    trials, held = 2000, 0
    for _ in range(trials):
        sample = [math.exp(draw.gauss(0, 0.3)) * (20 if draw.random() < 0.02 else 1) for _ in range(21)]
        interval = median_interval(sample, 0.95)
        held += interval.low <= 1.0 <= interval.high
    assert held / trials > 0.93


@given(times.filter(lambda values: len(values) > 1), st.floats(0.01, 100))
def test_the_unit_of_time_changes_no_verdict(values: list[float], factor: float) -> None:
    other = list(reversed(values))
    plain = judge(values, other, confidence=0.95, margin=0.01)
    scaled = judge([v * factor for v in values], [v * factor for v in other], confidence=0.95, margin=0.01)
    assert plain.ratio.median == pytest.approx(scaled.ratio.median)


@given(times)
def test_a_series_compared_with_itself_is_equally_fast(values: list[float]) -> None:
    assert judge(values, values, confidence=0.95, margin=0.0).outcome in (Outcome.same, Outcome.undecided)


@given(st.lists(st.floats(1e-3, 1e3), min_size=8, max_size=40), st.floats(1.05, 10))
def test_a_constant_factor_is_detected_in_spite_of_drift(drift: list[float], factor: float) -> None:
    slow = [value * factor for value in drift]
    slower, faster = (judge(*pair, confidence=0.95, margin=0.01) for pair in ((slow, drift), (drift, slow)))
    assert (slower.outcome, faster.outcome) == (Outcome.slower, Outcome.faster)
    assert (slower.ratio.median, faster.ratio.median) == pytest.approx((factor, 1 / factor))


def test_too_few_rounds_give_an_undecided_outcome() -> None:
    few = rounds_needed(0.95) - 1
    verdict = judge([1.0] * few, [2.0] * few, confidence=0.95, margin=0.01)
    assert verdict.outcome is Outcome.undecided
    assert verdict.ratio.coverage < 0.95


def test_a_difference_within_the_margin_is_not_significant() -> None:
    assert judge([1.005] * 20, [1.0] * 20, confidence=0.95, margin=0.01).outcome is Outcome.same
    assert judge([1.02] * 20, [1.0] * 20, confidence=0.95, margin=0.01).outcome is Outcome.slower


def test_equal_series_are_seldom_judged_different() -> None:
    draw = random.Random(3)
    trials = 1000
    wrong = 0
    for _ in range(trials):
        rounds = [draw.uniform(0.5, 2) for _ in range(15)]
        first, second = ([drift * draw.gauss(1, 0.05) for drift in rounds] for _ in range(2))
        wrong += judge(first, second, confidence=0.95, margin=0.0).outcome is not Outcome.same
    assert wrong / trials < 0.06


@given(st.floats(0.5, 0.999), st.integers(1, 100))
def test_several_comparisons_need_a_stricter_confidence_each(confidence: float, comparisons: int) -> None:
    each = family_confidence(confidence, comparisons)
    assert each >= confidence - 1e-12
    assert comparisons * (1 - each) == pytest.approx(1 - confidence)


@given(st.floats(0.5, 0.9999))
def test_rounds_needed_is_the_smallest_number_that_suffices(confidence: float) -> None:
    count = rounds_needed(confidence)
    assert 1 - 2 / 2**count >= confidence - 1e-9
    assert count == 1 or 1 - 2 / 2 ** (count - 1) < confidence + 1e-9
    assert rounds_needed(0.0) == 1
