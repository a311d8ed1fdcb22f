"""The table of a plan for the console: the verdict, reason, expected time and size, and device of each step."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cosybuild.building.plan import Plan, Step
from cosybuild.building.status import Blocked, Hit
from cosybuild.errors import Pending
from cosybuild.report.figures import counted, seconds, size

_STYLES = {"hit": "cyan", "stale": "green", "unknown": "magenta", "blocked": "yellow"}
_WORDS = {"hit": "cached", "stale": "run", "unknown": "may run", "blocked": "blocked"}


def plan_table(plan: Plan) -> RenderableType:
    """Return a table with one row for each step, and below it the number of steps to run and of blocked steps."""
    return Group(*_parts(plan))


def _parts(plan: Plan) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("step", "", "expected", "size", "device", "why"):
        table.add_column(column, overflow="fold")
    for step in plan.steps:
        word = step.status.verdict
        verdict = Text(_WORDS[word], _STYLES[word])
        table.add_row(step.label, verdict, *_expected(step), step.stage.device, Text(step.status.explain()))
    yield table
    blocked = [s for s in plan.steps if isinstance(s.status, Blocked)]
    running = [s for s in plan.steps if not isinstance(s.status, Hit | Blocked)]
    if running:
        total = plan.expected_seconds
        took = "some steps have no history yet" if total is None else f"about {seconds(total)}"
        yield Text(f"{counted(len(running), 'step')} to run, {took}. Nothing was run or written (dry_run=true).")
    elif blocked:
        yield Text(f"Nothing to do on this machine: {counted(len(plan.steps) - len(blocked), 'step')} up to date.")
    else:
        yield Text(f"Nothing to do: {counted(len(plan.steps), 'step')} up to date.")
    if blocked:
        count, code = counted(len(blocked), "step"), Pending.exit_code
        yield Text(f"{count} blocked: the run would end as pending, with exit code {code}.")


def _expected(step: Step) -> tuple[str, str]:
    if isinstance(step.status, Hit | Blocked):
        return "", ""
    if step.expected is None:
        return "no history yet", ""
    return seconds(step.expected.seconds), size(step.expected.bytes)
