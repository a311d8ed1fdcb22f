"""Verdicts in words."""

from __future__ import annotations

from cosybuild.building.status import Blocked, Hit, Stale, Unknown
from cosybuild.store.key import Reason

REASONS = tuple(Reason(f"settings.{name}", "1", "2") for name in "abcde")


def test_verdicts_explain_themselves() -> None:
    assert Hit().explain() == "already built"
    assert Unknown(("graph", "weights")).explain() == "waits for the content of graph, weights"
    assert Blocked(("a GPU", "TensorRT 10")).explain() == "needs a GPU; TensorRT 10"
    assert Stale((), "never built").explain() == "never built"
    assert Stale(REASONS[:1], "and its result is damaged").explain() == (
        "settings.a: 1 -> 2; and its result is damaged"
    )
    assert Stale().explain() == ""


def test_of_many_reasons_the_first_are_said_and_the_rest_counted() -> None:
    assert Stale(REASONS).explain() == "; ".join([*map(str, REASONS[:3]), "2 more"])
    assert Stale(REASONS[:3]).explain() == "; ".join(map(str, REASONS[:3]))
