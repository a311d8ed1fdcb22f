"""The build of one cell of a sweep: it writes the cell's record and prints one summary line."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.status import Status
from rich.text import Text

from cosybuild.building.events import Event
from cosybuild.building.record import Failure
from cosybuild.cli.console import BuildConsole
from cosybuild.cli.failure import failure_of
from cosybuild.cli.requests import Requests
from cosybuild.cli.sweep import cell_line
from cosybuild.errors import BuildError, CosybuildError, Pending
from cosybuild.printable import one_line
from cosybuild.report.sweep import varied
from cosybuild.report.sweep_figures import figures
from cosybuild.request import Request
from cosybuild.run.execute import Invocation, run_build
from cosybuild.sweeps.records import RUNNING, CellRecord, read_plan, write_cell
from cosybuild.sweeps.write import write_sweep
from cosybuild.system.typed_json import from_json, to_json


def run_cell(
    config: DictConfig, requests: Requests, *, live: bool, quiet: bool = False
) -> float | tuple[float, ...] | None:
    """Build the cell that Hydra has composed.

    Args:
        config: the composed configuration.
        requests: the cache of requests in this process.
        live: show the running step; only the process that owns the terminal does this.
        quiet: print nothing for this cell. `finish_sweep` then prints the artifacts and errors of all cells.

    Returns:
        The value of the objective for a sweeper that searches, or a tuple of values for several objectives; None for a
            sweeper that tries every cell.

    Raises:
        CosybuildError: the cell failed, and the sweeper searches. Such a sweeper must know that a trial failed.
    """
    hydra = HydraConfig.get()
    sweep = Path(hydra.sweep.dir)
    plan = read_plan(sweep)
    run = Path(os.path.relpath(hydra.runtime.output_dir))
    overrides = tuple(str(word) for word in hydra.overrides.task)
    began = CellRecord(overrides, os.path.relpath(run, sweep), RUNNING, time.time(), platform.node())
    write_cell(sweep, began)
    console = _CellConsole(live and not quiet)
    try:
        outcome = failure_of(lambda: _build(requests.of(config), run, overrides, console))
    finally:
        console.close()
    record = _ended(began, outcome)
    write_cell(sweep, record)
    write_sweep(sweep)
    searching = plan.cells is None
    cells = [cell.overrides for cell in plan.cells or ()]
    shown = [word for word in overrides if searching or word.partition("=")[0] in varied(cells)]
    place = f"{hydra.job.num + 1}" if searching else f"{hydra.job.num + 1}/{len(cells)}"
    if not quiet:
        printed = BuildConsole(sys.stdout).console
        printed.print(cell_line(to_json(record), place, shown))
        if not isinstance(outcome, Failure) and "deployment" in outcome[0]:
            from cosybuild.deploy.deploy import facts_text

            printed.print(facts_text(outcome[0]["deployment"]))
    return _told(record) if searching else None


def _build(
    request: Request, run: Path, overrides: tuple[str, ...], console: _CellConsole
) -> tuple[Mapping[str, Any], Mapping[str, float | None]]:
    """Build one cell and return the run's report, and name -> value of the objectives; None for a missing value."""
    alone = tuple(word for word in overrides if not word.startswith("sweep="))
    report = run_build(request, Invocation(alone, run), console)
    wanted = [objective.value for objective in request.settings.objective] or ["error"]
    found = figures(report) if report["failure"] is None else {}
    return report, {name: found.get(name) for name in wanted}


def _ended(began: CellRecord, outcome: Failure | tuple[Mapping[str, Any], Mapping[str, float | None]]) -> CellRecord:
    spent = time.time() - began.started
    if isinstance(outcome, Failure):
        return dataclasses.replace(began, status="failed", exit_code=outcome.exit_code, failure=outcome, seconds=spent)
    report, objective = outcome
    failure = None if report["failure"] is None else from_json(report["failure"], Failure, "failure")
    codes = {"ok": 0, "pending": Pending.exit_code}
    return dataclasses.replace(
        began,
        status=report["status"],
        exit_code=codes[report["status"]] if failure is None else failure.exit_code,
        failure=failure,
        actions={step["label"]: _action(step, report) for step in report["steps"]},
        seconds=spent,
        objective=objective,
    )


def _action(step: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Return the action of a step in this command.

    If there was nothing to do, the report comes from an earlier run. Its steps then count as cached.
    """
    return "cached" if report["nothing_to_do"] or step["action"] == "hit" else str(step["action"])


def _told(record: CellRecord) -> float | tuple[float, ...]:
    if record.failure is not None:
        raise CosybuildError(record.failure.message, hint=record.failure.hint)
    lacking = [name for name, value in record.objective.items() if value is None or math.isnan(value)]
    if lacking:
        raise BuildError(f"The run has no figure '{lacking[0]}', which objective names.")
    values = tuple(value for value in record.objective.values() if value is not None)
    return values if len(values) > 1 else values[0]


class _CellConsole:
    """Event sink that shows the running step on a terminal. Without a terminal, it prints nothing."""

    def __init__(self, live: bool) -> None:
        self._status: Status | None = None
        if live and sys.stdout.isatty():
            self._status = BuildConsole(sys.stdout).console.status("planning")
            self._status.start()

    def __call__(self, event: Event) -> None:
        if self._status is not None and event.kind in ("started", "progress", "waiting"):
            self._status.update(Text(one_line(f"{event.step} {event.facts.get('what') or ''}".rstrip())))

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
