from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cosybuild.figure import plain
from cosybuild.numerics.tolerance import Mismatch, Tolerance, compare

FLOATS = arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32))


@given(FLOATS, FLOATS, st.sampled_from([0.0, 1e-3, 1.0]), st.sampled_from([0.0, 1e-2, 10.0]))
def test_the_gate_is_numpys_allclose(actual: np.ndarray, reference: np.ndarray, rtol: float, atol: float) -> None:
    wide = actual.astype(np.float64), reference.astype(np.float64)
    assert (compare(actual, reference, Tolerance(rtol, atol)) is None) == np.allclose(*wide, rtol=rtol, atol=atol)


def test_a_mismatch_tells_everything() -> None:
    reference = np.zeros((2, 3, 50), np.float32)
    reference[1, 2, 7] = 2.0
    actual = reference.copy()
    actual[1, 2, 7] = 2.5
    actual[0, 0, 0] = 0.1
    mismatch = compare(actual, reference, Tolerance(1e-2, 1e-3))
    assert mismatch is not None
    assert (mismatch.index, mismatch.failing, mismatch.total) == ((1, 2, 7), 2, 300)
    assert (mismatch.actual, mismatch.reference) == (2.5, 2.0)
    assert mismatch.allowed == pytest.approx(0.021)
    assert mismatch.percentiles == {50: 0.0, 90: 0.0, 99: 0.0, 100: 0.5}
    assert mismatch.describe("out") == (
        "out[1, 2, 7] is 2.5, the reference 2: apart by 0.5 where 0.021 is allowed; 2 of 300 elements fail; "
        "signal-to-noise ratio 11.9 dB; error p50 0, p90 0, p99 0, p100 0.5"
    )
    assert json.loads(json.dumps(mismatch.facts())) == {
        "index": [1, 2, 7],
        "actual": 2.5,
        "reference": 2.0,
        "allowed": pytest.approx(0.021),
        "failing": 2,
        "total": 300,
        "percentiles": {"p50": 0.0, "p90": 0.0, "p99": 0.0, "p100": 0.5},
        "snr_db": pytest.approx(11.87, abs=0.01),
        "shapes": None,
    }


def test_the_place_that_is_told_is_the_furthest_outside_its_own_gate() -> None:
    mismatch = compare(np.array([101.0, 0.5]), np.array([100.0, 0.0]), Tolerance(rtol=0.02, atol=0.01))
    assert mismatch is not None
    assert (mismatch.index, mismatch.failing) == ((1,), 1)
    # Of two errors half are at least the larger: a percentile is an error that occurred.
    assert mismatch.percentiles == {50: 1.0, 90: 1.0, 99: 1.0, 100: 1.0}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_passes(value: float) -> None:
    good = np.ones(4, np.float32)
    bad = good.copy()
    bad[2] = value
    generous = Tolerance(1e3, 1e3)
    for actual, reference in ((bad, good), (good, bad), (bad, bad)):
        mismatch = compare(actual, reference, generous)
        assert mismatch is not None
        assert mismatch.index == (2,)
        assert mismatch.failing == 1
        assert math.isnan(mismatch.snr_db)
        facts = json.loads(json.dumps(mismatch.facts(), allow_nan=False))
        assert facts["snr_db"] == "NaN"
        assert plain(value) in (facts["actual"], facts["reference"])
        assert facts["percentiles"]["p100"] == "Infinity"


def test_two_infinities_are_no_arithmetic_error_but_fail() -> None:
    endless = np.full(2, np.inf)
    with np.errstate(all="raise"):
        assert compare(endless, endless, Tolerance(1, 1)) is not None


def test_what_is_allowed_is_computed_in_double_and_of_finite_values_only() -> None:
    thousands = np.full(4, 1000, np.float16)  # whose squares float16 does not hold
    assert Tolerance(0.0, 1e-3, scaled=True).allowed(thousands).tolist() == [1.0] * 4
    assert Tolerance(0.5, 0.25).allowed(np.array([np.nan, np.inf, 2.0])).tolist() == [0.25, 0.25, 1.25]


@pytest.mark.filterwarnings("error")
def test_nothing_is_as_nothing_should_be() -> None:
    empty = np.zeros((2, 0), np.float32)
    assert compare(empty, empty, Tolerance(1e-4, 1e-4, scaled=True, snr_db=90)) is None


def test_another_shape_never_passes() -> None:
    mismatch = compare(np.zeros((2, 3)), np.zeros((2, 4)), Tolerance(1, 1))
    assert mismatch is not None
    assert mismatch == Mismatch((), 0.0, 0.0, 0.0, 0, 8, {}, 0.0, ((2, 3), (2, 4)))
    assert mismatch.describe("out") == "out has shape (2, 3), the reference (2, 4)"


def test_a_scaled_tolerance_follows_large_outputs_and_not_small_ones() -> None:
    tolerance = Tolerance(0.0, 1e-3, scaled=True)
    large, small = np.full(8, 50.0), np.full(8, 1e-3)
    assert compare(large + 0.04, large, tolerance) is None
    assert compare(large + 0.06, large, tolerance) is not None
    assert compare(small + 9e-4, small, tolerance) is None
    assert compare(small + 1.1e-3, small, tolerance) is not None


def test_a_small_error_everywhere_fails_the_ratio_and_no_element() -> None:
    reference = np.ones((10, 10))
    actual = reference + 1e-4 * np.where(np.arange(100).reshape(10, 10) % 2, 1, -1)  # 80 dB
    assert compare(actual, reference, Tolerance(1e-3, 0)) is None
    assert compare(actual, reference, Tolerance(1e-3, 0, snr_db=79)) is None
    mismatch = compare(actual, reference, Tolerance(1e-3, 0, snr_db=81))
    assert mismatch is not None
    assert mismatch.failing == 0
    assert mismatch.snr_db == pytest.approx(80, abs=0.1)
    assert "0 of 100 elements fail, the whole does: signal-to-noise ratio 80.0 dB; error " in mismatch.describe("out")


def test_a_ratio_that_is_just_met_passes() -> None:
    assert compare(np.array([11.0]), np.array([10.0]), Tolerance(1, 0, snr_db=20.0)) is None
    assert compare(np.array([11.0]), np.array([10.0]), Tolerance(1, 0, snr_db=20.0001)) is not None


def test_a_silent_reference_has_no_ratio() -> None:
    zero = np.zeros(4)
    assert compare(zero + 1e-6, zero, Tolerance(0, 1e-5, snr_db=90)) is None
    assert compare(zero + 1e-4, zero, Tolerance(0, 1e-5, snr_db=90)) is not None


def test_a_tolerance_reads_as_text() -> None:
    assert str(Tolerance(1e-2, 1e-4)) == "rtol 0.01, atol 0.0001"
    assert str(Tolerance(1e-4, 3e-4, True, 94)) == "rtol 0.0001, atol 0.0003 of the rms above 1, at least 94 dB"
