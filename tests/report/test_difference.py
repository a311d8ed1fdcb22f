"""Two runs differ in values that are different, or null, empty, zero or absent in one of them."""

from __future__ import annotations

from typing import Any

import pytest

from cosybuild.report.difference import difference, difference_lines


def report(config: dict[str, Any], metrics: dict[str, Any] | None = None) -> dict[str, Any]:
    steps = [{"label": "verify", "metrics": metrics or {}}]
    return {"config": config, "model": {}, "environment": {"versions": {}}, "steps": steps, "artifacts": []}


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ({"a": None}, {}, "config.a  null -> (absent)"),
        ({"a": 0}, {"a": None}, "config.a  0 -> null"),
        ({"a": ""}, {}, 'config.a  "" -> (absent)'),
        ({"a": []}, {}, "config.a  [] -> (absent)"),
        ({"a": []}, {"a": {}}, "config.a  [] -> {}"),
        ({"a": []}, {"a": ["x"]}, "config.a.0  (absent) -> x"),
        ({"a": False}, {"a": None}, "config.a  false -> null"),
    ],
)
def test_zero_and_empty_and_null_and_absent_are_different_values(
    old: dict[str, Any], new: dict[str, Any], line: str
) -> None:
    assert list(difference_lines(difference(report(old), report(new)))) == ["configuration:", f"  {line}"]


def test_figures_that_are_zero_or_infinite_or_absent_differ() -> None:
    figures: list[dict[str, Any]] = [{"snr_db": 0.0}, {"snr_db": "Infinity"}, {}]
    for old in figures:
        for new in figures:
            found = difference(report({}, old), report({}, new))
            assert bool(found) == (old is not new)


def test_a_tuple_in_memory_equals_a_list_from_json() -> None:
    assert not difference(report({"a": (1, 2), "b": ()}), report({"a": [1, 2], "b": []}))
