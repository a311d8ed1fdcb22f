"""The error budget and the solver's runs in report.md."""

from __future__ import annotations

from typing import Any

import pytest

from cosybuild.report.highlights import highlight
from cosybuild.report.verification import coverage_line, hop_rows, run_rows


def hop(name: str, against: str, own: float | None, total: float) -> dict[str, Any]:
    figures = {"snr_db": own, "max_abs": 1e-5}
    return {"hop": name, "against": against, "own": figures, "total": {"snr_db": total, "max_abs": 2e-5},
            "gate": {"snr_db": 94.0}, "case": "seq_len=4", "missed": []}  # fmt: skip


RUN = {"run": "solver T=64 (short)", "steps_snr_db": [140.0, 110.0], "seam": None,
       "mel": {"snr_db": 110.0, "mean_abs": 1e-6, "max_abs": 2e-5, "lsd_db": 3e-5}}  # fmt: skip
STEPS = [
    {"label": "verify", "metrics": {"hops": [hop("torch", "float64", 120.0, 120.0), hop("simplify", "torch", None, 99)],
                                    "solver": [RUN]}},
    {"label": "verify lowered", "metrics": {"hops": [hop("lowered", "torch", 52.3, 52.3)]}},
    {"label": "engine sm_89", "metrics": None},
]  # fmt: skip


def test_the_error_budget_is_one_table_of_all_steps_and_marks_the_worst_hop() -> None:
    rows = list(hop_rows(STEPS))
    assert [row[0] for row in rows] == ["torch", "simplify", "**lowered**"]
    assert [row[2] for row in rows] == ["120.0 dB", "exact", "52.3 dB"]
    assert rows[0][3:] == ("120.0 dB", "1e-05", "snr_db 94", "seq_len=4")


@pytest.mark.parametrize("exact", ["Infinity", None], ids=["now", "older"])
def test_a_hop_without_error_is_exact_and_a_figure_that_is_absent_is_a_dash(exact: str | None) -> None:
    figures = {"snr_db": exact, "max_abs": 0.0}
    hops = [hop("torch", "float64", 90.0, 90.0) | {"own": figures, "total": {}}]
    (row,) = hop_rows([{"label": "verify", "metrics": {"hops": hops}}])
    assert row[:5] == ("torch", "float64", "exact", "-", "0")
    run = RUN | {"steps_snr_db": [exact, exact], "mel": figures, "seam": 0.0}
    (row,) = run_rows([{"label": "verify", "metrics": {"solver": [run]}}])
    assert row[2:] == ("exact", "exact", "exact", "-", "0", "-", "0")


@pytest.mark.parametrize(
    ("stage", "metrics", "phrase"),
    [
        ("verify", {"cases": 2, "worst": {"max_abs": 0.0, "case": "a"}}, "2 cases, no error"),
        ("verify", {"cases": 2, "worst": {"max_abs": 1e-6, "case": "a"}}, "2 cases, worst error 1.0e-06 (a)"),
        ("verify", {"cases": 0, "worst": {}}, "0 cases"),
        (
            "verify_lowered",
            {"cases": [{"case": "a", "how": "x"}, {"case": "a", "how": "y"}], "worst": {"snr_db": "Infinity"}},
            "1 case, no error",
        ),
        (
            "verify_engine",
            {"cases": [{"case": "a", "how": "x"}, {"case": "a", "how": "y"}], "worst": {"snr_db": None}},
            "1 case, no error",
        ),
        (
            "verify_lowered",
            {"cases": [{"case": "a", "how": "x"}, {"case": "a", "how": "y"}], "worst": {"snr_db": 0.0}},
            "1 case, at least 0 dB SNR",
        ),
        (
            "verify_lowered",
            {"cases": [{"case": "a", "how": "x"}, {"case": "a", "how": "y"}], "worst": {"snr_db": 56.7}},
            "1 case, at least 57 dB SNR",
        ),
    ],
)
def test_a_verified_step_has_a_phrase_with_its_figures(stage: str, metrics: dict[str, Any], phrase: str) -> None:
    assert highlight({"stage": stage, "metrics": metrics}) == phrase
    exact = {"mel": {"snr_db": "Infinity"}}
    assert highlight({"stage": stage, "metrics": metrics | {"solver": [exact]}}) == f"{phrase}, mel exact"


def test_the_runs_of_the_solver_are_listed() -> None:
    assert list(run_rows(STEPS)) == [
        ("solver T=64 (short)", "verify", "140.0 dB", "110.0 dB", "110.0 dB", "1e-06", "2e-05", "3e-05 dB", "-")
    ]


def test_the_share_of_served_lengths_is_stated() -> None:
    outside: dict[str, Any] = {"calls": 0, "shortest": None, "longest": None}
    found = {"calls": 9000, "served": 9000, "outside": outside}
    assert (
        coverage_line([{"metrics": {"coverage": found}}]) == "The profiles serve 9,000 of 9,000 calls seen in service."
    )
    found |= {"served": 8999, "outside": {"calls": 1, "shortest": 3100, "longest": 3100}}
    assert coverage_line([{"metrics": {"coverage": found}}]).endswith("the others have 3100 to 3100 frames.")
    assert coverage_line(STEPS) == ""
