"""The figure of each step that a reader wants first, in a phrase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def highlight(step: Mapping[str, Any]) -> str:
    """E.g. `2,623 -> 2,198 nodes` for simplify; empty where a stage has no figure to show."""
    phrase = _PHRASES.get(str(step["stage"]))
    metrics = step.get("metrics") or {}
    return phrase(metrics) if phrase is not None and metrics else ""


def _export(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['nodes']:,} nodes, opset {metrics['opset']}"


def _simplify(metrics: Mapping[str, Any]) -> str:
    return f"{metrics['nodes_before']:,} -> {metrics['nodes_after']:,} nodes"


def _verify(metrics: Mapping[str, Any]) -> str:
    worst = metrics["worst"]
    return f"{metrics['cases']} cases on {metrics['provider']}, worst error {worst['max_abs']:.2e} ({worst['case']})"


_PHRASES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "export": _export,
    "simplify": _simplify,
    "verify": _verify,
}
