"""A figure is a number or None, and a reader of JSON can distinguish zero, infinite and absent."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.figure import dumps, measured, number, plain


def strict(text: str) -> Any:
    """Parse JSON by the standard, without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@given(st.floats())
def test_every_float_is_read_back_from_standard_json(value: float) -> None:
    found = number(strict(dumps(value)))
    assert found == value or (found is not None and math.isnan(found) and math.isnan(value))


@given(st.recursive(st.floats() | st.text() | st.none() | st.integers(), lambda t: st.lists(t) | st.tuples(t, t)))
def test_nested_data_is_standard_json_however_deep(value: Any) -> None:
    assert strict(dumps({"figures": value})) == plain({"figures": value})


def test_zero_infinite_and_absent_are_three_figures() -> None:
    figures = strict(dumps({"max_abs": 0.0, "snr_db": math.inf}))
    assert figures == {"max_abs": 0.0, "snr_db": "Infinity"}
    found = [measured(figures, name) for name in ("max_abs", "snr_db", "lsd_db")]
    assert found == [0.0, math.inf, None]


def test_null_in_an_older_record_is_an_infinite_figure() -> None:
    assert measured({"snr_db": None}, "snr_db") == math.inf
    assert measured({"snr_db": "inf"}, "snr_db") == math.inf


@pytest.mark.parametrize("value", ["much", True, [1.0], {}], ids=repr)
def test_the_error_names_a_value_that_is_no_figure(value: Any) -> None:
    with pytest.raises(ValueError, match=r"figure|convert"):
        number(value)
