"""How far two arrays are apart. One small function a figure; a new one is added to `METRICS`.

All compute in float64 and take `(actual, reference)` of one shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def max_abs(actual: Array, reference: Array) -> float:
    """max |a - r|, in the output's units."""
    return float(np.max(np.abs(_wide(actual) - _wide(reference)), initial=0.0))


def mean_abs(actual: Array, reference: Array) -> float:
    """mean |a - r|, in the output's units."""
    return float(np.mean(np.abs(_wide(actual) - _wide(reference)))) if actual.size else 0.0


def max_rel(actual: Array, reference: Array) -> float:
    """max |a - r| / rms(r), without unit. The root mean square keeps zeros of r from dividing."""
    wide = _wide(reference)
    rms = float(np.sqrt(np.mean(wide**2))) if wide.size else 0.0
    error = max_abs(actual, reference)
    return error / rms if rms > 0 else (0.0 if error == 0 else float("inf"))


def snr_db(actual: Array, reference: Array) -> float:
    """10 log10(sum r^2 / sum (a - r)^2), in dB; infinite where the two are equal."""
    wide = _wide(reference)
    noise = float(np.sum((_wide(actual) - wide) ** 2))
    signal = float(np.sum(wide**2))
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal > 0 else float("-inf")


def cosine(actual: Array, reference: Array) -> float:
    """a.r / (|a| |r|), without unit, 1 where they point the same way (two zero arrays do)."""
    a, r = _wide(actual).ravel(), _wide(reference).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(r))
    if norms == 0:
        return 1.0 if not a.any() and not r.any() else 0.0
    return float(np.dot(a, r) / norms)


METRICS: dict[str, Callable[[Array, Array], float]] = {
    "max_abs": max_abs,
    "mean_abs": mean_abs,
    "max_rel": max_rel,
    "snr_db": snr_db,
    "cosine": cosine,
}


def measure(actual: Array, reference: Array) -> dict[str, float]:
    """Every figure of `METRICS`."""
    assert actual.shape == reference.shape, (actual.shape, reference.shape)
    return {name: metric(actual, reference) for name, metric in METRICS.items()}


def worst_index(actual: Array, reference: Array) -> tuple[int, ...]:
    """Where |a - r| is largest; the first such place, and a place that is not a number before all others."""
    error = np.abs(_wide(actual) - _wide(reference))
    error[np.isnan(error)] = np.inf
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), error.shape))


def _wide(array: Array) -> Array:
    return np.asarray(array, np.float64)
