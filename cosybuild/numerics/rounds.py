"""Measures several things in turns, until their medians are known well enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cosybuild.core.clock import SYSTEM_CLOCK, Clock
from cosybuild.numerics.timing import median_interval, rounds_needed

Call = Callable[[], None]
"""What is timed: it returns when the work is done, on a GPU too."""


@dataclass(frozen=True)
class Budget:
    """How long to measure.

    Attributes:
        confidence: of the interval of each median.
        half_width: relative half-width of that interval at which measuring may stop.
        max_seconds: of measuring all of them, without the warm-up; the round that is under way is finished.
        warmup_seconds: for each of them, at least two calls.
        min_rounds, max_rounds: bounds of the number of rounds.
        sample_seconds: calls shorter than this are repeated and averaged: the clock itself takes time.
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
    """What was measured.

    Attributes:
        samples: name -> seconds a call, one sample a round, in the order of the rounds.
        calls: name -> calls averaged in one sample.
        seconds: how long measuring took, warm-up included.
        settled: whether every median reached the half-width; False where time or rounds ran out.
    """

    samples: Mapping[str, tuple[float, ...]]
    calls: Mapping[str, int]
    seconds: float
    settled: bool


def measure_rounds(
    contestants: Mapping[str, Call],
    budget: Budget,
    clock: Clock = SYSTEM_CLOCK,
    progress: Callable[[int], None] = lambda rounds: None,
) -> Rounds:
    """Time all contestants in turns: A B C, C B A, A B C, ...

    Drift (a warming processor, a neighbour that comes or goes) then meets all of them alike, and turning the
    order round takes out what it does within a round. Whether to stop depends on the widths of the intervals
    only, never on which contestant is ahead, so that it does not favour a difference.

    Args:
        progress: told the number of finished rounds.
    """
    begun = clock.elapsed()
    calls = {name: _warm(call, budget, clock) for name, call in contestants.items()}
    order = list(contestants)
    samples: dict[str, list[float]] = {name: [] for name in order}
    start, rounds, settled = clock.elapsed(), 0, False
    fewest = max(budget.min_rounds, rounds_needed(budget.confidence))
    while rounds < budget.max_rounds and not settled:
        for name in order:
            samples[name].append(_sample(contestants[name], calls[name], clock))
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
    """Warm up, and tell how many calls make a sample."""
    begun = clock.elapsed()
    shortest = _sample(call, 1, clock)
    while True:
        shortest = min(shortest, _sample(call, 1, clock))
        if clock.elapsed() - begun >= budget.warmup_seconds:
            break
    repeats = 1 if shortest <= 0 else math.ceil(budget.sample_seconds / shortest)
    return max(1, min(repeats, _MOST_CALLS))


# Only a clock that stands still would ask for more.
_MOST_CALLS = 10_000


def _sample(call: Call, calls: int, clock: Clock) -> float:
    begun = clock.elapsed()
    for _ in range(calls):
        call()
    return (clock.elapsed() - begun) / calls
