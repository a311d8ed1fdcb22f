"""A plan as plain data: the verdict on the whole plan, its exit code, and its steps."""

from __future__ import annotations

from typing import Any

from cosybuild.building.plan import Plan
from cosybuild.building.record_json import json_from_plan
from cosybuild.building.status import Blocked
from cosybuild.errors import Pending


def plan_code(plan: Plan) -> int:
    """Return the exit code of a dry run or build of this plan: the one of `Pending` if a step is blocked, else 0."""
    return Pending.exit_code if any(isinstance(step.status, Blocked) for step in plan.steps) else 0


def plan_verdict(plan: Plan) -> str:
    """Return `nothing to do`, `would build` or `blocked` for a whole plan.

    A plan is blocked if one of its steps is blocked, even if other steps would run.
    """
    if plan_code(plan):
        return "blocked"
    return "nothing to do" if plan.up_to_date else "would build"


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain JSON: the verdict, the exit code, the expected seconds, and the steps of plan.json."""
    return {
        "verdict": plan_verdict(plan),
        "exit_code": plan_code(plan),
        "expected_seconds": plan.expected_seconds,
        "steps": list(json_from_plan(plan)),
    }
