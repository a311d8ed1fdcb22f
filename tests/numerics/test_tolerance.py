from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cosybuild.numerics.tolerance import Tolerance, compare

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
    text = mismatch.describe("out")
    for part in ("out[1, 2, 7]", "2.5", "2", "0.021", "2 of 300", "p100 0.5"):
        assert part in text
    assert json.loads(json.dumps(mismatch.facts()))["percentiles"]["p100"] == 0.5


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
        json.dumps(mismatch.facts(), allow_nan=False)


def test_another_shape_never_passes() -> None:
    mismatch = compare(np.zeros((2, 3)), np.zeros((2, 4)), Tolerance(1, 1))
    assert mismatch is not None
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
    assert "signal-to-noise ratio 80.0 dB" in mismatch.describe("out")


def test_a_silent_reference_has_no_ratio() -> None:
    zero = np.zeros(4)
    assert compare(zero + 1e-6, zero, Tolerance(0, 1e-5, snr_db=90)) is None
    assert compare(zero + 1e-4, zero, Tolerance(0, 1e-5, snr_db=90)) is not None


def test_a_tolerance_reads_as_text() -> None:
    assert str(Tolerance(1e-2, 1e-4)) == "rtol 0.01, atol 0.0001"
    assert str(Tolerance(1e-4, 3e-4, True, 94)) == "rtol 0.0001, atol 0.0003 of the rms above 1, at least 94 dB"
