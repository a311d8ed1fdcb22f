"""The text of a finding, and the condition under which it holds."""

from __future__ import annotations

import numpy as np
import pytest

from cosybuild.verification.properties import PROPERTIES, Finding, change, counted


def finding(name: str, value: float, bound: float) -> Finding:
    return Finding(name, "here", value, bound)


def test_an_equal_value_meets_a_bound_and_a_required_change_must_exceed_it() -> None:
    assert finding("zero_row", 0.5, 0.5).holds
    assert not finding("zero_row", 0.6, 0.5).holds
    assert not finding("mask_used", 0.5, 0.5).holds
    assert finding("mask_used", 0.6, 0.5).holds
    assert {name for name in PROPERTIES if finding(name, 0, 0).must_change} == {
        "mask_used", "inputs_used", "attention_span"}  # fmt: skip


def test_a_finding_reads_as_text_and_as_data() -> None:
    says = PROPERTIES["zero_row"].says
    assert str(finding("zero_row", 0.0123456, 1e-5)) == (
        f"zero_row ({says}) does not hold, here: the largest change is 0.0123 of the output's rms, "
        "at most 1e-05 is expected"
    )
    assert "more than 1e-07 is expected" in str(finding("mask_used", 0.0, 1e-7))
    assert finding("mask_used", 0.5, 1e-7).facts() == {
        "property": "mask_used", "tried": "here", "value": 0.5, "bound": 1e-7, "faults": [], "must_change": True,
        "holds": True}  # fmt: skip
    assert finding("zero_row", np.inf, 1e-5).facts()["value"] == "Infinity"


def test_faults_that_are_listed_are_counted() -> None:
    two = counted("axes", "run at 3 sizes", ["one", "another"])
    assert (two.value, two.bound, two.holds) == (2.0, 0.0, False)
    assert str(two).endswith("does not hold, run at 3 sizes: one; another")
    assert two.facts()["faults"] == ["one", "another"]
    assert counted("axes", "run at 3 sizes", []).holds


@pytest.mark.filterwarnings("error")
def test_a_change_is_relative_and_infinite_for_values_that_are_not_finite() -> None:
    ones = np.ones((2, 3), np.float32)
    assert change(ones * 3, ones * 2) == pytest.approx(0.5)
    assert change(ones * 0.375, ones * 0.25) == 0.5
    assert change(ones * 2, np.array([[3.0, 0, 0], [0, 0, 4]])) == pytest.approx(2 / np.sqrt(25 / 6))
    assert change(ones, ones) == 0.0
    assert change(ones * 0, ones * 0) == 0.0
    assert change(ones, ones * 0) == float("inf")
    assert change(ones * np.nan, ones) == float("inf")
    assert change(ones, ones * np.inf) == float("inf")
    assert change(ones[:0], ones[:0]) == 0.0
    thousands = np.full(4, 1000, np.float16)  # whose squares are too large for float16
    assert change(thousands * np.float16(2), thousands) == 1.0
