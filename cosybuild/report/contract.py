"""The contract section of a report: the properties that verification tried on artifacts, and those that it did not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cosybuild.figure import number
from cosybuild.printable import Markdown, code, text

HEAD = ("property", "of", "tried", "change", "asked for")


def rows(steps: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    """Yield one table row for each property and step, with the trial whose value is nearest to the bound.

    Args:
        steps: the steps of report.json.
    """
    for step, contract in _contracts(steps):
        nearest: dict[str, tuple[Mapping[str, Any], int]] = {}
        for finding in contract["properties"]:
            best, count = nearest.get(finding["property"], (finding, 0))
            closer = _value(finding) < _value(best) if finding["must_change"] else _value(finding) > _value(best)
            nearest[finding["property"]] = (finding if closer else best, count + 1)
        for name, (finding, count) in nearest.items():
            tried = f"{finding['tried']} (nearest of {count})" if count > 1 else finding["tried"]
            limit = f"{'more than' if finding['must_change'] else 'at most'} {finding['bound']:g}"
            yield name, str(step["label"]), tried, f"{_value(finding):.3g}", limit


def _value(finding: Mapping[str, Any]) -> float:
    value = number(finding["value"])
    return math.nan if value is None else value


def absences(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield one line for each step and each reason why properties were not tried, with the names of the properties."""
    for step, contract in _contracts(steps):
        reasons: dict[str, list[str]] = {}
        for name, reason in contract["not_tried"].items():
            reasons.setdefault(reason, []).append(code(name))
        for reason, names in reasons.items():
            yield Markdown(f"{text(step['label'])}, not tried: {', '.join(names)} ({text(reason)})")


def _contracts(steps: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for step in steps:
        contract = (step.get("metrics") or {}).get("contract")
        if contract:
            yield step, contract
