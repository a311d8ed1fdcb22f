"""Lines that a build prints without a terminal."""

from __future__ import annotations

import io

import pytest

from cosybuild.building.events import Event
from cosybuild.cli.console import BuildConsole
from cosybuild.cli.flags import Volume


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (None, "never built; writes a graph (first time here)"),
        (34.25, "never built; writes a graph (the most similar build took 34.2 s)"),
        (200.0, "never built; writes a graph (the most similar build took 3 min 20 s)"),
        (9.9, "never built; writes a graph"),
    ],
)
def test_the_line_of_a_step_has_its_action_and_its_duration(expected: float | None, said: str) -> None:
    out = io.StringIO()
    facts = {"reason": "never built", "does": "writes a graph", "expected": expected}
    BuildConsole(out)(Event(0.0, "started", "export", facts))
    assert out.getvalue() == f"building  export  {said}\n"


EVENTS = (
    Event(0.0, "planned", "export", {"verdict": "stale"}),
    Event(0.0, "started", "export", {"reason": "never built"}),
    Event(0.0, "progress", "export", {"done": 1, "total": 2}),
    Event(0.0, "finished", "export", {"seconds": 1.0}),
    Event(0.0, "cached", "verify", {"reason": "already built"}),
    Event(0.0, "failed", "verify", {}),
)


@pytest.mark.parametrize(("volume", "words"), [
    (Volume.quiet, []),
    (Volume.usual, ["building", "failed"]),
    (Volume.all, ["planned", "building", "progress", "built", "cached", "failed"]),
])  # fmt: skip
def test_a_log_has_one_line_for_a_step_and_all_events_on_request(volume: Volume, words: list[str]) -> None:
    out = io.StringIO()
    console = BuildConsole(out, volume=volume)
    for event in EVENTS:
        console(event)
    assert [line.split()[0] for line in out.getvalue().splitlines()] == words


def test_the_opening_line_is_removed_before_the_first_output() -> None:
    out = io.StringIO()
    console = BuildConsole(out, lambda: print("away", file=out))
    console(Event(0.0, "warning", None, {"message": "it is late"}))
    assert out.getvalue().splitlines()[0] == "away"
