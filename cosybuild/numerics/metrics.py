"""The metrics that compare two arrays. To add one, write a function with the decorator `@metric`.

All metrics take `(actual, reference)` of the same shape and compute in float64. A gate in the configuration sets a
bound on a metric by its name. docs/verification.md lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Figure = Callable[[Array, Array], float]

_DB_PER_NEPER = 20 / math.log(10)


class Kind(str, Enum):
    """The kind of values that an output holds, or that a metric is defined for."""

    any = "any"
    """The kind of an output without special metrics. A metric of this kind applies to every output."""
    mel = "mel"
    """Natural logarithms of mel magnitudes, (..., bins, frames)."""
    waveform = "waveform"
    """Samples relative to full scale, (..., samples)."""
    f0 = "f0"
    """Fundamental frequencies in Hz, (..., frames); 0 where unvoiced."""
    phase = "phase"
    """Phases in cycles. Two phases that differ by a whole number of cycles are equal."""
    condition = "condition"
    """Outputs of a front end that are inputs of the estimator: mu, spks or cond."""
    spectrum = "spectrum"
    """Magnitudes or phases of spectra, (..., bins, spectra)."""
    embedding = "embedding"
    """Vectors of which only the directions are compared, (..., size)."""
    tokens = "tokens"
    """Indices of entries of a codebook, (..., tokens)."""
    classes = "classes"
    """Probabilities of classes, (..., classes), such as a softmax gives. This kind is detected from the values
    (`is_distribution`).
    """


@dataclass(frozen=True)
class Metric:
    """A metric: its function, its unit and the direction of its bound.

    Attributes:
        compute: function (actual, reference) -> value.
        unit: the unit in messages; `output` for the output's own unit; empty if there is none.
        higher_is_better: True if a bound is the smallest allowed value, False if it is the largest.
        of: the kind of values for which the metric is defined.
    """

    compute: Figure
    unit: str = ""
    higher_is_better: bool = False
    of: Kind = Kind.any

    def __call__(self, actual: Array, reference: Array) -> float:
        return self.compute(actual, reference)

    def holds(self, value: float, bound: float) -> bool:
        """Return True if the value is within the bound. NaN never is."""
        return value >= bound if self.higher_is_better else value <= bound

    def measures(self, kind: Kind) -> bool:
        """Return True if the metric is defined for values of this kind."""
        return self.of in (Kind.any, kind)


METRICS: dict[str, Metric] = {}


def metric(unit: str = "", *, higher_is_better: bool = False, of: Kind = Kind.any) -> Callable[[Figure], Figure]:
    """Return a decorator that registers a function in `METRICS` under its own name; see `Metric` for the arguments."""

    def enter(compute: Figure) -> Figure:
        METRICS[compute.__name__] = Metric(compute, unit, higher_is_better, of)
        return compute

    return enter


@metric("output")
def max_abs(actual: Array, reference: Array) -> float:
    """Return max |actual - reference|, in the output's units."""
    return float(np.max(np.abs(_wide(actual) - _wide(reference)), initial=0.0))


@metric("output")
def mean_abs(actual: Array, reference: Array) -> float:
    """Return mean |actual - reference|, in the output's units."""
    return float(np.mean(np.abs(_wide(actual) - _wide(reference)))) if actual.size else 0.0


@metric()
def max_rel(actual: Array, reference: Array) -> float:
    """Return max |actual - reference| / rms(reference), without unit.

    Dividing by the root mean square, and not by each element, avoids divisions by zero.
    """
    wide = _wide(reference)
    rms = float(np.sqrt(np.mean(wide**2))) if wide.size else 0.0
    error = max_abs(actual, reference)
    return error / rms if rms > 0 else (0.0 if error == 0 else float("inf"))


@metric("dB", higher_is_better=True)
def snr_db(actual: Array, reference: Array) -> float:
    """Return 10 log10(sum reference^2 / sum (actual - reference)^2), in dB; infinity if both arrays are equal."""
    wide = _wide(reference)
    noise = float(np.sum((_wide(actual) - wide) ** 2))
    signal = float(np.sum(wide**2))
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal > 0 else float("-inf")


@metric(higher_is_better=True)
def cosine(actual: Array, reference: Array) -> float:
    """Return the cosine of the angle between the arrays, as vectors; 1 if both are zero, 0 if only one is."""
    a, r = _wide(actual).ravel(), _wide(reference).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(r))
    if norms == 0:
        return 1.0 if not a.any() and not r.any() else 0.0
    return float(np.dot(a, r) / norms)


@metric("dB", of=Kind.mel)
def lsd_db(actual: Array, reference: Array) -> float:
    """Return the log-spectral distance, in dB (Gray and Markel, 1976).

    It is the mean over frames of sqrt(mean over bins of (20 / ln 10 * (a - r))^2). The values are natural logarithms
    of magnitudes; the factor 20 / ln 10 converts them to dB.
    """
    if actual.size == 0:
        return 0.0
    decibels = _DB_PER_NEPER * (_wide(actual) - _wide(reference))
    return float(np.mean(np.sqrt(np.mean(decibels**2, axis=-2))))


@metric(higher_is_better=True, of=Kind.tokens)
def equal_tokens(actual: Array, reference: Array) -> float:
    """Return the share of tokens that are equal; 1 for two empty arrays."""
    return float(np.mean(actual == reference)) if actual.size else 1.0


@metric(of=Kind.tokens)
def further_differences(actual: Array, reference: Array) -> float:
    """Return the share of tokens that differ, not counting the first different token.

    A token may change if its two nearest entries of the codebook are almost equally near. In a short recording, one
    such token would already be a large share.
    """
    different = int(np.count_nonzero(actual != reference))
    return max(0, different - 1) / actual.size if actual.size else 0.0


@metric(of=Kind.classes)
def top1_loss(actual: Array, reference: Array) -> float:
    """Return the largest loss of a row; 0 if artifact and reference choose the same most probable class in every row.

    The loss of a row is the reference's probability of its own most probable class, minus the reference's probability
    of the class that is most probable in the artifact. If two classes of almost equal probability change places, the
    loss is almost 0. A percentage of equal choices would count this change as much as a choice of an improbable class.
    """
    return _top_loss(actual, reference, 1)


@metric(of=Kind.classes)
def top5_loss(actual: Array, reference: Array) -> float:
    """Return the largest loss of a row, as `top1_loss` does, for the sum of the five most probable classes."""
    return _top_loss(actual, reference, 5)


def _top_loss(actual: Array, reference: Array, count: int) -> float:
    a, r = (_wide(array).reshape(-1, array.shape[-1]) for array in (actual, reference))
    chosen = np.argsort(-a, axis=-1, kind="stable")[:, :count]
    best = -np.sort(-r, axis=-1)[:, :count]
    return float(np.max(best.sum(-1) - np.take_along_axis(r, chosen, -1).sum(-1), initial=0.0))


def is_distribution(reference: Array) -> bool:
    """Return True if the last axis holds probabilities of classes: no value is negative, and each row has the sum 1."""
    if reference.ndim == 0 or reference.shape[-1] < 2 or not reference.size or reference.dtype.kind not in "fV":
        return False
    wide = _wide(reference)
    return bool((wide >= 0).all() and np.allclose(wide.sum(-1), 1.0, atol=1e-3))


def measure(actual: Array, reference: Array, kind: Kind = Kind.any) -> dict[str, float]:
    """Compute every metric that is defined for values of this kind, and return metric -> value.

    Args:
        actual: the values under test.
        reference: the expected values, of the same shape.
        kind: the kind of the values.
    """
    assert actual.shape == reference.shape, (actual.shape, reference.shape)
    return {name: one(actual, reference) for name, one in METRICS.items() if one.measures(kind)}


def lost() -> dict[str, float]:
    """Return metric -> worst possible value, for an output that cannot be compared.

    Only metrics that apply to all outputs are included.
    """
    return {**measure(np.zeros(1), np.ones(1)), "max_abs": math.inf, "mean_abs": math.inf, "max_rel": math.inf,
            "snr_db": -math.inf}  # fmt: skip


def _wide(array: Array) -> Array:
    return np.asarray(array, np.float64)
