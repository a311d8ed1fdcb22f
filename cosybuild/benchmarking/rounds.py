"""Time measurement of several runners in alternating rounds, until the medians are known accurately enough.

A runner is one timed computation, such as PyTorch or an engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cosybuild.benchmarking.timing import median_interval, rounds_needed
from cosybuild.system.clock import SYSTEM_CLOCK, Clock

Call = Callable[[], None]
"""The timed function. It returns when its work is done, also if the work runs on a GPU."""


@dataclass(frozen=True)
class Budget:
    """The limits of one measurement.

    Attributes:
        confidence: confidence of the interval of each median, in 0..1.
        half_width: half of the interval's width, relative to the median; if all intervals are narrower, measuring
            stops.
        max_seconds: largest time of all rounds together, without the warm-up; a round that has begun is finished.
        warmup_seconds: warm-up time of each runner; at least two calls are made.
        min_rounds: smallest number of rounds.
        max_rounds: largest number of rounds.
        sample_seconds: smallest duration of one sample. Shorter calls are repeated and averaged, because reading the
            clock takes time too.
    """

    confidence: float = 0.95
    half_width: float = 0.02
    max_seconds: float = 30.0
    warmup_seconds: float = 0.5
    min_rounds: int = 8
    max_rounds: int = 500
    sample_seconds: float = 0.002


@dataclass(frozen=True)
class Rounds:
    """The result of one measurement.

    Attributes:
        samples: runner -> seconds per call, one sample for each round, in the order of the rounds.
        calls: runner -> number of calls that are averaged in one sample.
        seconds: duration of the measurement, including the warm-up.
        settled: True if every median's interval became narrow enough; False if time or rounds ran out before.
    """

    samples: Mapping[str, tuple[float, ...]]
    calls: Mapping[str, int]
    seconds: float
    settled: bool


def measure_rounds(
    runners: Mapping[str, Call],
    budget: Budget,
    clock: Clock = SYSTEM_CLOCK,
    progress: Callable[[int], None] = lambda rounds: None,
) -> Rounds:
    """Time all runners in alternating order: A B C, C B A, A B C, ...

    Slow changes of the machine (a warming processor, another process that starts or ends) then affect all runners
    equally, and the reversed order cancels their effect within two rounds. The decision to stop depends only on the
    widths of the intervals. If it depended on the differences between runners, false differences would be found more
    often.

    Args:
        runners: name -> timed function of each runner.
        budget: the limits.
        clock: the source of time.
        progress: called after each round with the number of finished rounds.
    """
    begun = clock.elapsed()
    calls = {name: _warm(call, budget, clock) for name, call in runners.items()}
    order = list(runners)
    samples: dict[str, list[float]] = {name: [] for name in order}
    start, rounds, settled = clock.elapsed(), 0, False
    fewest = max(budget.min_rounds, rounds_needed(budget.confidence))
    while rounds < budget.max_rounds and not settled:
        for name in order:
            samples[name].append(_sample(runners[name], calls[name], clock))
        order.reverse()
        rounds += 1
        progress(rounds)
        settled = rounds >= fewest and all(
            median_interval(values, budget.confidence).relative_half_width <= budget.half_width
            for values in samples.values()
        )
        if clock.elapsed() - start >= budget.max_seconds:
            break
    timed = {name: tuple(values) for name, values in samples.items()}
    return Rounds(timed, calls, clock.elapsed() - begun, settled)


def _warm(call: Call, budget: Budget, clock: Clock) -> int:
    """Warm up a runner, and return the number of calls that one sample should average."""
    begun = clock.elapsed()
    shortest = _sample(call, 1, clock)
    while True:
        shortest = min(shortest, _sample(call, 1, clock))
        if clock.elapsed() - begun >= budget.warmup_seconds:
            break
    repeats = 1 if shortest <= 0 else math.ceil(budget.sample_seconds / shortest)
    return max(1, min(repeats, _MOST_CALLS))


# Largest number of calls in a sample. Only a clock that does not advance would need more.
_MOST_CALLS = 10_000


def _sample(call: Call, calls: int, clock: Clock) -> float:
    begun = clock.elapsed()
    for _ in range(calls):
        call()
    return (clock.elapsed() - begun) / calls
