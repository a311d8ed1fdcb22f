"""Measurement in rounds, with a clock that only the measured calls advance."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from hypothesis import given
from hypothesis import strategies as st

from cosybuild.benchmarking.rounds import Budget, measure_rounds
from cosybuild.benchmarking.timing import Outcome, judge, rounds_needed


class Bench:
    """A clock, and calls that take time on it."""

    def __init__(self) -> None:
        self.time = 0.0
        self.called: list[str] = []

    def now(self) -> float:
        return self.time

    def elapsed(self) -> float:
        return self.time

    def takes(self, name: str, durations: Iterable[float]) -> Callable[[], None]:
        stream = iter(durations)

        def call() -> None:
            self.called.append(name)
            self.time += next(stream)

        return call


def test_steady_runners_settle_in_the_fewest_rounds() -> None:
    bench = Bench()
    runners = {name: bench.takes(name, itertools.repeat(cost)) for name, cost in (("a", 0.1), ("b", 0.2))}
    rounds = measure_rounds(runners, Budget(min_rounds=9, max_seconds=1e9), bench)
    assert rounds.settled
    assert {len(samples) for samples in rounds.samples.values()} == {9}
    assert rounds.seconds == bench.time


def test_the_order_of_the_runners_alternates() -> None:
    bench = Bench()
    runners = {name: bench.takes(name, itertools.repeat(1.0)) for name in "abc"}
    measure_rounds(runners, Budget(warmup_seconds=0, min_rounds=8, max_rounds=8, max_seconds=1e9), bench)
    turns = "".join(bench.called[6:])  # two calls of each to warm up
    assert turns == "abccba" * 4


def test_linear_drift_within_rounds_makes_no_difference() -> None:
    # Each call is a little slower than the one before it, for every runner.
    bench = Bench()
    slower = (1.0 + 0.05 * step for step in itertools.count())
    runners = {name: bench.takes(name, slower) for name in "ab"}
    rounds = measure_rounds(
        runners, Budget(warmup_seconds=0, min_rounds=40, max_rounds=40, max_seconds=1e9, sample_seconds=0), bench
    )
    verdict = judge(rounds.samples["a"], rounds.samples["b"], confidence=0.95, margin=0.0)
    assert verdict.outcome is Outcome.same


def test_the_time_limit_ends_an_unsteady_measurement() -> None:
    bench = Bench()
    wild = itertools.cycle([1.0, 9.0, 3.0])
    rounds = measure_rounds({"a": bench.takes("a", wild)}, Budget(max_seconds=60, warmup_seconds=0), bench)
    assert not rounds.settled
    assert 60 <= sum(rounds.samples["a"]) < 60 + 9


def test_the_limit_of_rounds_ends_an_unsteady_measurement() -> None:
    bench = Bench()
    wild = itertools.cycle([1.0, 9.0, 3.0])
    rounds = measure_rounds({"a": bench.takes("a", wild)}, Budget(max_seconds=1e9, max_rounds=17), bench)
    assert not rounds.settled
    assert len(rounds.samples["a"]) == 17


def test_the_warm_up_is_not_measured() -> None:
    bench = Bench()
    rounds = measure_rounds({"a": bench.takes("a", itertools.chain([50.0], itertools.repeat(1.0)))}, Budget(), bench)
    assert set(rounds.samples["a"]) == {1.0}


def test_the_warm_up_lasts_its_time_and_at_least_two_calls() -> None:
    for seconds, calls in ((0.0, 2), (0.25, 2), (0.3, 3), (0.5, 4)):
        bench = Bench()
        bench.time = 100.0
        budget = Budget(warmup_seconds=seconds, min_rounds=1, max_rounds=1, sample_seconds=0)
        rounds = measure_rounds({"a": bench.takes("a", itertools.repeat(0.125))}, budget, bench)
        assert len(bench.called) == calls + 1
        assert rounds.seconds == (calls + 1) * 0.125


def test_time_counts_from_the_end_of_the_warm_up_and_the_round_under_way_is_finished() -> None:
    for seconds, count in ((6.0, 3), (6.5, 4)):
        bench = Bench()
        bench.time = 100.0
        runners = {name: bench.takes(name, itertools.repeat(1.0)) for name in "ab"}
        budget = Budget(warmup_seconds=10, max_seconds=seconds)
        rounds = measure_rounds(runners, budget, bench)
        assert [len(samples) for samples in rounds.samples.values()] == [count, count]


def test_a_measurement_settles_only_if_all_runners_are_steady() -> None:
    bench = Bench()
    runners = {"wild": bench.takes("wild", itertools.cycle([1.0, 9.0, 3.0])),
                   "steady": bench.takes("steady", itertools.repeat(1.0))}  # fmt: skip
    assert not measure_rounds(runners, Budget(max_seconds=1e9, max_rounds=20, warmup_seconds=0), bench).settled


def test_a_width_equal_to_the_limit_is_enough() -> None:
    for width, settled in ((0.5, True), (0.4, False)):
        bench = Bench()  # the interval is 0.5 to 1.5 about 1.0
        wild = bench.takes("a", itertools.cycle([0.5, 1.5, 1.0, 0.5, 1.5]))
        budget = Budget(half_width=width, warmup_seconds=0, max_seconds=1e9, min_rounds=8, max_rounds=8)
        assert measure_rounds({"a": wild}, budget, bench).settled is settled


def test_progress_is_reported_each_round() -> None:
    bench, told = Bench(), list[int]()
    budget = Budget(min_rounds=8, max_seconds=1e9)
    measure_rounds({"a": bench.takes("a", itertools.repeat(1.0))}, budget, bench, told.append)
    assert told == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_system_clock_is_used_by_default() -> None:
    rounds = measure_rounds({"a": lambda: None}, Budget(warmup_seconds=0, max_rounds=1, sample_seconds=0))
    assert rounds.seconds > 0


def test_calls_that_take_no_time_on_the_clock_are_measured() -> None:
    for cost, calls in ((0.0, 1), (1e-12, 10_000), (1e-3, 2), (1.5e-3, 2), (2e-3, 1), (1.0, 1)):
        bench = Bench()
        budget = Budget(warmup_seconds=0, min_rounds=1, max_rounds=1, sample_seconds=2e-3)
        assert measure_rounds({"a": bench.takes("a", itertools.repeat(cost))}, budget, bench).calls == {"a": calls}


def test_the_quickest_warm_up_call_determines_the_calls_of_a_sample() -> None:
    bench = Bench()
    costs = itertools.chain([1.0, 0.125, 1.0], itertools.repeat(1.0))
    budget = Budget(warmup_seconds=2.0, min_rounds=1, max_rounds=1, sample_seconds=1.0)
    assert measure_rounds({"a": bench.takes("a", costs)}, budget, bench).calls == {"a": 8}


def test_short_calls_are_averaged() -> None:
    bench = Bench()
    rounds = measure_rounds(
        {"a": bench.takes("a", itertools.repeat(1e-4))}, Budget(sample_seconds=2e-3, warmup_seconds=0), bench
    )
    assert 20 <= rounds.calls["a"] <= 21
    assert all(abs(sample - 1e-4) < 1e-9 for sample in rounds.samples["a"])


@given(st.lists(st.floats(0.01, 10), min_size=3, max_size=20), st.integers(1, 30), st.floats(1, 200))
def test_the_bounds_of_the_budget_hold_for_any_timings(
    durations: list[float], fewest: int, most_seconds: float
) -> None:
    bench = Bench()
    budget = Budget(min_rounds=fewest, max_rounds=fewest + 30, max_seconds=most_seconds)
    rounds = measure_rounds({"a": bench.takes("a", itertools.cycle(durations))}, budget, bench)
    count = len(rounds.samples["a"])
    assert 1 <= count <= budget.max_rounds
    if rounds.settled:
        assert count >= max(fewest, rounds_needed(budget.confidence))
    assert sum(rounds.samples["a"][:-1]) < most_seconds
