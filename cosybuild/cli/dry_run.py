"""The output of dry runs: the plan as a table or as JSON, and the total of a sweep."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from cosybuild import figure
from cosybuild.building.plan import Plan, Step, key_of
from cosybuild.building.status import Blocked, Hit
from cosybuild.cli.console import BuildConsole
from cosybuild.cli.opening import Opening
from cosybuild.cli.plan_table import plan_table
from cosybuild.cli.printed import say
from cosybuild.report.figures import counted, seconds
from cosybuild.request import Request
from cosybuild.run.execute import plan_build
from cosybuild.run.plan_facts import plan_code, plan_facts


@dataclass
class DryRuns:
    """The plans that one command shows: one for a build, one for each cell of a sweep.

    Attributes:
        as_json: print each plan as a JSON document; in a sweep, each document is one line.
        cells: the number of plans shown so far.
        blocked: the number of plans with a blocked step.
        running: identity -> step, for each step that would run. Equal steps of several cells have the same identity, so
            they count once.
    """

    as_json: bool = False
    cells: int = 0
    blocked: int = 0
    running: dict[str, Step] = field(default_factory=dict)

    def show(self, request: Request, opening: Opening, overrides: Sequence[str] | None) -> int:
        """Plan the build and print which steps would run and why. Write nothing.

        Args:
            request: the request of the build.
            opening: the opening line on the terminal; closed before the first output.
            overrides: the overrides of the cell of a sweep; None for a single build.

        Returns:
            0, or the exit code of `Pending` if a step is blocked.
        """
        warnings: list[str] = []
        plan = plan_build(request, warn=warnings.append)
        opening.close()
        for message in warnings:
            say(message, file=sys.stderr)
        code = plan_code(plan)
        self.cells += 1
        self.blocked += code != 0
        self.running.update(_running(plan, request))
        if self.as_json:
            facts = plan_facts(plan)
            whole = facts if overrides is None else {"overrides": list(overrides), **facts}
            print(figure.dumps(whole, indent=2 if overrides is None else None, ensure_ascii=False))
        else:
            if overrides is not None:
                say(f"\n{' '.join(overrides)}")
            console = BuildConsole(sys.stdout).console
            console.print(plan_table(plan))
            if (deploy := request.settings.deploy) is not None:
                console.print(Text(f"The build would then deploy to {deploy.dir} ({deploy.service.value})."))
            for note in request.subject.notes:
                console.print(Text(f"{note}.", style="yellow"))
        return code

    def show_total(self) -> None:
        """Print the totals of a sweep: its cells, the steps to run, the blocked cells and the expected time.

        A step that several cells share counts once.
        """
        known = [step.expected.seconds for step in self.running.values() if step.expected is not None]
        lacking = len(self.running) - len(known)
        if self.as_json:
            total = {"cells": self.cells, "steps": len(self.running), "blocked_cells": self.blocked}
            print(figure.dumps({"total": {**total, "expected_seconds": None if lacking else sum(known)}}))
            return
        took = f"about {seconds(sum(known))}" if known or not lacking else "no history yet"
        more = f" and {counted(lacking, 'step')} without history" if lacking and known else ""
        blocked = f"; {counted(self.blocked, 'cell')} blocked" if self.blocked else ""
        steps = counted(len(self.running), "step")
        say(f"\nTotal of {counted(self.cells, 'cell')}: {steps} to run, {took}{more}{blocked}.")


def _running(plan: Plan, request: Request) -> Iterator[tuple[str, Step]]:
    """Yield an identity and the step for each step that would run. Equal steps of two cells have equal identities."""
    identities: Mapping[str, str] = {}
    for step in plan.steps:
        if step.key is not None:
            identity = step.key.digest
        else:  # The key depends on the content of inputs that no step has made yet; use the identities of their steps.
            own = key_of(step.stage, request, request.environment, {}).digest
            identity = " ".join([own, *(identities.get(wire.producer, "") for wire in step.wires)])
        identities = {**identities, step.label: identity}
        if not isinstance(step.status, Hit | Blocked):
            yield identity, step
