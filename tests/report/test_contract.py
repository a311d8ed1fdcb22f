"""The contract's table in report.md."""

from __future__ import annotations

from typing import Any

from cosybuild.report.contract import absences, rows


def finding(name: str, value: float | str, must_change: bool = False, tried: str = "exchanged") -> dict[str, Any]:
    bound = 1e-7 if must_change else 1e-5
    return {"property": name, "tried": tried, "value": value, "bound": bound, "must_change": must_change,
            "holds": True, "faults": []}  # fmt: skip


STEPS = [
    {"label": "export", "metrics": {"nodes": 3}},
    {"label": "verify", "metrics": {"contract": {
        "properties": [
            finding("independent_rows", 0.0, tried="row 1"), finding("independent_rows", 2e-6, tried="row 0"),
            finding("inputs_used", 0.5, True, "x"), finding("inputs_used", 0.1, True, "t"),
        ],
        "not_tried": {"batch_size": "the batch is fixed", "future_chunks": "attention is full"},
    }}},
    {"label": "engine sm_89", "metrics": None},
]  # fmt: skip


def test_each_property_is_listed_once_with_the_trial_nearest_to_its_bound() -> None:
    assert list(rows(STEPS)) == [
        ("independent_rows", "verify", "row 0 (nearest of 2)", "2e-06", "at most 1e-05"),
        ("inputs_used", "verify", "t (nearest of 2)", "0.1", "more than 1e-07"),
    ]


def test_properties_that_were_not_tried_are_listed_with_the_reason() -> None:
    assert list(absences(STEPS)) == [
        "verify, not tried: `batch_size` (the batch is fixed)",
        "verify, not tried: `future_chunks` (attention is full)",
    ]


def test_an_infinite_change_counts_as_the_largest() -> None:
    found = [finding("inputs_used", "Infinity", True, "x"), finding("inputs_used", 0.0, True, "t")]
    (row,) = rows([{"label": "verify", "metrics": {"contract": {"properties": found, "not_tried": {}}}}])
    assert row[2:4] == ("t (nearest of 2)", "0")
    (row,) = rows([{"label": "verify", "metrics": {"contract": {"properties": found[:1], "not_tried": {}}}}])
    assert row[3] == "inf"
