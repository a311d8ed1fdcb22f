"""How far two arrays are apart. A new figure is one function under `@metric`, and one line of YAML to hold to it.

All compute in float64 and take `(actual, reference)` of one shape. docs/verification.md lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Figure = Callable[[Array, Array], float]

_DB_PER_NEPER = 20 / math.log(10)


@dataclass(frozen=True)
class Metric:
    """A figure and how it is read.

    Attributes:
        compute: (actual, reference) -> figure.
        unit: for people; empty where it has none.
        higher_is_better: which way a bound holds.
        of_mel: it has a meaning for log-mel spectrograms (..., bins, frames) only.
    """

    compute: Figure
    unit: str = ""
    higher_is_better: bool = False
    of_mel: bool = False

    def __call__(self, actual: Array, reference: Array) -> float:
        return self.compute(actual, reference)

    def holds(self, value: float, bound: float) -> bool:
        """Whether a figure is within the bound; one that is not a number never is."""
        return value >= bound if self.higher_is_better else value <= bound


METRICS: dict[str, Metric] = {}


def metric(unit: str = "", *, higher_is_better: bool = False, of_mel: bool = False) -> Callable[[Figure], Figure]:
    """Enter a function into `METRICS` under its own name."""

    def enter(compute: Figure) -> Figure:
        METRICS[compute.__name__] = Metric(compute, unit, higher_is_better, of_mel)
        return compute

    return enter


@metric("output")
def max_abs(actual: Array, reference: Array) -> float:
    """max |a - r|, in the output's units."""
    return float(np.max(np.abs(_wide(actual) - _wide(reference)), initial=0.0))


@metric("output")
def mean_abs(actual: Array, reference: Array) -> float:
    """mean |a - r|, in the output's units."""
    return float(np.mean(np.abs(_wide(actual) - _wide(reference)))) if actual.size else 0.0


@metric()
def max_rel(actual: Array, reference: Array) -> float:
    """max |a - r| / rms(r), without unit. The root mean square keeps zeros of r from dividing."""
    wide = _wide(reference)
    rms = float(np.sqrt(np.mean(wide**2))) if wide.size else 0.0
    error = max_abs(actual, reference)
    return error / rms if rms > 0 else (0.0 if error == 0 else float("inf"))


@metric("dB", higher_is_better=True)
def snr_db(actual: Array, reference: Array) -> float:
    """10 log10(sum r^2 / sum (a - r)^2), in dB; infinite where the two are equal."""
    wide = _wide(reference)
    noise = float(np.sum((_wide(actual) - wide) ** 2))
    signal = float(np.sum(wide**2))
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal > 0 else float("-inf")


@metric(higher_is_better=True)
def cosine(actual: Array, reference: Array) -> float:
    """a.r / (|a| |r|), without unit, 1 where they point the same way (two zero arrays do)."""
    a, r = _wide(actual).ravel(), _wide(reference).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(r))
    if norms == 0:
        return 1.0 if not a.any() and not r.any() else 0.0
    return float(np.dot(a, r) / norms)


@metric("dB", of_mel=True)
def lsd_db(actual: Array, reference: Array) -> float:
    """Log-spectral distance: mean over frames of sqrt(mean over bins of (20 / ln 10 * (a - r))^2), in dB.

    Values are natural logarithms of magnitudes, so that the factor turns them into dB (Gray and Markel, 1976).
    """
    if actual.size == 0:
        return 0.0
    decibels = _DB_PER_NEPER * (_wide(actual) - _wide(reference))
    return float(np.mean(np.sqrt(np.mean(decibels**2, axis=-2))))


def measure(actual: Array, reference: Array, *, mel: bool = False) -> dict[str, float]:
    """Every figure of `METRICS` that has a meaning here.

    Args:
        mel: the arrays are log-mel spectrograms, (..., bins, frames).
    """
    assert actual.shape == reference.shape, (actual.shape, reference.shape)
    return {name: one(actual, reference) for name, one in METRICS.items() if mel or not one.of_mel}


def worst_index(actual: Array, reference: Array) -> tuple[int, ...]:
    """Where |a - r| is largest; the first such place, and a place that is not a number before all others."""
    error = np.abs(_wide(actual) - _wide(reference))
    # argmax takes the first that is not a number for the largest.
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape))


def _wide(array: Array) -> Array:
    return np.asarray(array, np.float64)
