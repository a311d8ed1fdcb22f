from __future__ import annotations

import math

import numpy as np
import pytest

from cosybuild.numerics.metrics import METRICS, Array, Kind, Metric, lost, measure, metric

R = np.array([[3.0, -4.0], [0.0, 0.0]], np.float32)
A = np.array([[3.0, -4.0], [0.5, 0.0]], np.float32)


def test_metrics_equal_values_computed_by_hand() -> None:
    assert measure(A, R) == pytest.approx(
        {
            "max_abs": 0.5,
            "mean_abs": 0.125,
            "max_rel": 0.5 / 2.5,  # rms of 3, 4, 0, 0
            "snr_db": 10 * math.log10(25 / 0.25),
            "cosine": 25 / (5 * math.sqrt(25.25)),
        }
    )


def test_equal_arrays_have_no_difference() -> None:
    assert measure(R, R) == {"max_abs": 0, "mean_abs": 0, "max_rel": 0, "snr_db": math.inf, "cosine": 1}


def test_a_reference_of_zeros_gives_infinite_ratios() -> None:
    zero = np.zeros((2, 2), np.float32)
    assert measure(zero, zero)["cosine"] == 1
    found = measure(A, zero)
    assert found["snr_db"] == -math.inf
    assert found["max_rel"] == math.inf
    assert found["cosine"] == 0


def test_differences_smaller_than_half_precision_are_measured() -> None:
    assert METRICS["max_abs"](np.array([1 + 1e-12]), np.array([1.0])) == pytest.approx(1e-12, rel=1e-3)


def test_empty_arrays_have_no_error() -> None:
    empty = np.zeros((2, 0), np.float32)
    assert measure(empty, empty)["max_abs"] == 0


def test_half_precision_is_measured_in_float64() -> None:
    """In float16 the squares and the differences of these values overflow."""
    actual, reference = np.array([[40_000, -30_000]], np.float16), np.array([[-40_000, 29_000]], np.float16)
    wide = measure(actual.astype(np.float64), reference.astype(np.float64), Kind.mel)
    assert measure(actual, reference, Kind.mel) == wide
    assert wide["max_abs"] == 80_000


def test_a_metric_is_registered_under_its_own_name() -> None:
    def flatness(actual: Array, reference: Array) -> float:
        return 7.0

    try:
        assert metric("Hz", higher_is_better=True, of=Kind.mel)(flatness) is flatness
        assert METRICS["flatness"] == Metric(flatness, "Hz", higher_is_better=True, of=Kind.mel)
        metric()(flatness)
        assert METRICS["flatness"] == Metric(flatness, "", higher_is_better=False, of=Kind.any)
        assert measure(R, R)["flatness"] == 7.0
    finally:
        del METRICS["flatness"]


def test_the_figures_of_outputs_that_cannot_be_compared_pass_no_gate() -> None:
    found = lost()
    assert set(found) == {name for name, one in METRICS.items() if one.of is Kind.any}
    assert [found[name] for name in ("max_abs", "mean_abs", "max_rel", "snr_db")] == [math.inf] * 3 + [-math.inf]


def test_tokens_are_equal_or_not() -> None:
    tokens = np.arange(10)
    other = np.where(tokens < 3, tokens + 1, tokens)
    found = measure(other, tokens, Kind.tokens)
    assert (found["equal_tokens"], found["further_differences"]) == (0.7, 0.2)
    assert measure(tokens[:1] + 1, tokens[:1], Kind.tokens)["further_differences"] == 0
    nothing = measure(tokens[:0], tokens[:0], Kind.tokens)
    assert (nothing["equal_tokens"], nothing["further_differences"]) == (1, 0)
