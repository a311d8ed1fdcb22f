"""A run: prepare, plan, execute, and leave a directory that explains itself."""

from __future__ import annotations

import shutil
import time
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
from cosybuild.run.deliver import deliver, write_json
from cosybuild.run.facts import Facts
from cosybuild.run.prepare import open_store, sources_of
from cosybuild.stages import stages_for
from cosybuild.stages.request import Request

ARTIFACTS = "artifacts"
EVIDENCE = "evidence"


@dataclass(frozen=True)
class Invocation:
    """How the run was called.

    Attributes:
        overrides: the words of the command line.
        directory: the run directory.
    """

    overrides: tuple[str, ...]
    directory: Path


def plan_build(request: Request, warn: Any) -> Plan:
    """What would run, and why; nothing is written."""
    with open_store(request.settings.store, warn, keep_nothing=True) as store:
        return make_plan(stages_for(request), request, sources_of(request, store), Environment(), store)


def run_build(request: Request, invocation: Invocation, console: Sink) -> dict[str, Any]:
    """Build what is asked for and return the report, as it stands in report.json.

    Raises:
        KeyboardInterrupt, MemoryError, AssertionError: after they were recorded.
        StoreError: the store or the run directory cannot be written.
    """
    directory = invocation.directory
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "events.jsonl"
    log.unlink(missing_ok=True)
    events = EventBus([JsonLines(log), console])
    with open_store(request.settings.store, lambda message: events.emit("warning", message=message)) as store:
        environment = Environment()
        sources = sources_of(request, store)
        plan = make_plan(stages_for(request), request, sources, environment, store)
        facts = Facts(request, invocation.overrides, config_digest(request.settings), environment, sources)
        write_json(directory / "plan.json", facts.plan(plan))

        def keep(outcome: Outcome) -> None:
            write_json(directory / "report.json", facts.report(plan, outcome, finished=None, artifacts=[]))

        outcome = execute(plan, request, sources, environment, store, events, keep=keep)
        artifacts = _deliver(store, outcome, directory, facts)
        report = facts.report(plan, outcome, finished=time.time(), artifacts=artifacts)
        write_json(directory / "report.json", report)
    return report


def _deliver(store: Store, outcome: Outcome, directory: Path, facts: Facts) -> list[dict[str, Any]]:
    if outcome.failure is not None:
        # What failed must not be found where finished work is looked for; the store keeps the good parts.
        for name in (ARTIFACTS, EVIDENCE):
            shutil.rmtree(directory / name, ignore_errors=True)
        return []
    return deliver(store, outcome, directory, facts.origin(outcome))
