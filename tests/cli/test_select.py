"""A cell is chosen by its present figures; zero and infinity are figures."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cosybuild.cli.select import unmet


def cell(**figures: float | None) -> dict[str, Any]:
    return {"status": "ok", "figures": {"size": 5, **figures}}


def test_an_error_of_zero_meets_every_limit() -> None:
    exact = cell(error=0.0, snr_db=math.inf)
    assert unmet(exact, "size", {"error": 1e-3}, 90.0) == ""
    assert unmet(exact, "size", {"error": 0.0}, math.inf) == ""
    assert unmet(exact, "error", {}, None) == ""


def test_a_limit_of_zero_is_applied() -> None:
    assert unmet(cell(error=1e-6), "size", {"error": 0.0}, None) == "its error is 1.0e-06, more than 0"
    assert unmet(cell(snr_db=-3.0), "size", {}, 0.0) == "its SNR is -3 dB, less than 0 dB"


@pytest.mark.parametrize("figures", [{}, {"error": None}, {"error": math.nan}], ids=str)
def test_a_figure_that_is_missing_or_no_number_meets_no_limit(figures: dict[str, float | None]) -> None:
    assert unmet(cell(**figures), "size", {"error": 1e-3}, None) == (
        "it has no figure 'error', which must be at most 1.0e-03"
    )
    assert unmet(cell(**figures), "error", {}, None) == "it has no figure 'error'"
