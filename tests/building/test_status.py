"""The text of verdicts."""

from __future__ import annotations

from cosybuild.building.status import Blocked, Hit, Stale, Unknown
from cosybuild.store.key import Reason

REASONS = tuple(Reason(f"settings.{name}", "1", "2") for name in "abcde")


def test_each_verdict_has_an_explanation_in_words() -> None:
    assert Hit().explain() == "already built"
    assert Unknown(("graph", "weights")).explain() == "waits for the content of graph, weights"
    assert Blocked(("a GPU", "TensorRT 10")).explain() == "needs a GPU; TensorRT 10"
    assert Stale((), "never built").explain() == "never built"
    assert Stale(REASONS[:1], "and its result is damaged").explain() == (
        "settings.a: 1 -> 2; and its result is damaged"
    )
    assert Stale().explain() == ""


def test_the_first_of_many_reasons_are_listed_and_the_others_counted() -> None:
    assert Stale(REASONS).explain() == "; ".join([*map(str, REASONS[:3]), "2 more"])
    assert Stale(REASONS[:3]).explain() == "; ".join(map(str, REASONS[:3]))
