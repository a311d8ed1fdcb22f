"""A run: prepare, plan, execute, and leave a directory that explains itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.config.naming import config_digest
from cosybuild.core.environment import Environment
from cosybuild.core.events import EventBus, JsonLines, Sink
from cosybuild.core.plan import Plan, make_plan
from cosybuild.core.record import Outcome
from cosybuild.core.runner import execute
from cosybuild.core.store import Store
from cosybuild.report.markdown import markdown
from cosybuild.run.deliver import deliver, retract, write_json, write_text
from cosybuild.run.deployment import deploy_run
from cosybuild.run.facts import Facts
from cosybuild.run.lock import hold_artifacts, hold_digests, hold_ingredients, write_lock
from cosybuild.run.prepare import open_store, planning_store, sources_of
from cosybuild.run.recorded import REPORT, REPORT_TEXT
from cosybuild.run.unchanged import unchanged_report
from cosybuild.stages.pipeline import stages_for
from cosybuild.stages.request import Request


@dataclass(frozen=True)
class Invocation:
    """How the run was called.

    Attributes:
        overrides: the words of the command line.
        directory: the run directory.
    """

    overrides: tuple[str, ...]
    directory: Path


def plan_build(request: Request, warn: Callable[[str], None]) -> Plan:
    """What would run, and why; nothing is written."""
    store = planning_store(request.settings.store, warn)
    return make_plan(stages_for(request), request, sources_of(request, store), Environment(), store)


def run_build(request: Request, invocation: Invocation, console: Sink) -> dict[str, Any]:
    """Build what is asked for and return the report, as it stands in report.json, and `nothing_to_do`.

    A failed step does not raise: it stands in the report, with the exit code it calls for.

    Raises:
        KeyboardInterrupt, MemoryError, AssertionError: after they were recorded.
        StoreError: the store or the run directory cannot be written.
        DeployError: what was built may not, or could not, be put into service.
        DriftError: `hold_to` names a lock that was not met, or `must_produce` was not.
    """
    settings, directory = request.settings, invocation.directory
    events = EventBus([console])

    def warn(message: str) -> None:
        events.emit("warning", message=message)

    with open_store(settings.store, warn) as store, ExitStack() as uncached:
        environment = Environment()
        sources = sources_of(request, store)
        plan = make_plan(stages_for(request), request, sources, environment, store)
        if (settings.deploy, settings.lock, settings.hold_to) == (None, False, None):
            unchanged = unchanged_report(directory, plan, store)
            if unchanged is not None:
                store.flush()
                hold_digests(settings.must_produce, unchanged)
                return {**unchanged, "nothing_to_do": True}
        facts = Facts(request, invocation.overrides, config_digest(settings), environment, sources)
        if settings.hold_to is not None:
            hold_ingredients(Path(settings.hold_to), facts.base)
        _begin(directory, facts, plan, events)
        outcome = execute(
            plan,
            request,
            sources,
            environment,
            store,
            events,
            keep=lambda outcome: write_json(directory / REPORT, facts.report(outcome, finished=None, artifacts=[])),
            uncached=uncached,
        )
        report = _finish(directory, facts, plan, outcome, store)
        if settings.deploy is not None and outcome.failure is None:
            # After the report: a refused deployment must not take the record of the build with it.
            report["deployment"] = deploy_run(request, outcome, directory, environment)
            write_json(directory / REPORT, report)
    if settings.hold_to is not None and report["status"] == "ok":
        hold_artifacts(Path(settings.hold_to), report)
    if report["status"] == "ok":
        hold_digests(settings.must_produce, report)
    if settings.lock and report["status"] == "ok":
        write_lock(directory, report)
    return {**report, "nothing_to_do": False}


def _begin(directory: Path, facts: Facts, plan: Plan, events: EventBus) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "events.jsonl"
    log.unlink(missing_ok=True)
    events.add(JsonLines(log))
    write_json(directory / "plan.json", facts.plan(plan))


def _finish(directory: Path, facts: Facts, plan: Plan, outcome: Outcome, store: Store) -> dict[str, Any]:
    if outcome.failure is None:
        artifacts = deliver(store, plan, outcome, directory, facts.origin(outcome))
    else:
        retract(directory)
        artifacts = []
    report = facts.report(outcome, finished=time.time(), artifacts=artifacts)
    write_json(directory / REPORT, report)
    write_text(directory / REPORT_TEXT, markdown(report))
    return report
