from __future__ import annotations

import numpy as np

from cosybuild.numerics.tolerance import Tolerance


def test_the_allowed_difference_is_computed_in_float64_from_finite_values() -> None:
    thousands = np.full(4, 1000, np.float16)  # whose squares float16 does not hold
    assert Tolerance(0.0, 1e-3, scaled=True).allowed(thousands).tolist() == [1.0] * 4
    assert Tolerance(0.5, 0.25).allowed(np.array([np.nan, np.inf, 2.0])).tolist() == [0.25, 0.25, 1.25]


def test_an_empty_array_has_an_empty_allowed_difference() -> None:
    assert Tolerance(1e-4, 1e-4, scaled=True).allowed(np.zeros((2, 0))).shape == (2, 0)


def test_a_tolerance_reads_as_text() -> None:
    assert str(Tolerance(1e-2, 1e-4)) == "rtol 0.01, atol 0.0001"
    assert str(Tolerance(1e-4, 3e-4, True)) == "rtol 0.0001, atol 0.0003 of the rms above 1"
