"""sweep.json: every cell of a sweep with its figures, made from the JSON files of its runs.

docs/sweeps.md documents the schema. SCHEMA must be increased if a field changes its meaning or is removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cosybuild.report.changes import run_state
from cosybuild.report.difference import flat
from cosybuild.report.sweep_figures import error_by_length, latency_by_length

SCHEMA = 1
PLAN, CELLS = "plan.json", "cells"
MISSING, UNFINISHED = "missing", "unfinished"

_LEFT_OUT = ("store.", "dry_run", "lock", "hold_to", "objective", "must_produce")


def gather(directory: Path) -> dict[str, Any]:
    """Return the content of sweep.json for the directory of a sweep, also if the sweep is not finished.

    A planned cell that did not begin has the status `missing`. A cell that began, but has no record of its end, has the
    status `unfinished`.
    """
    plan = json.loads((directory / PLAN).read_text(encoding="utf-8"))
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (directory / CELLS).glob("*.json")}
    planned = plan["cells"]
    if planned is None:  # the sweeper searches: list the cells tried so far, in this order
        begun = sorted(records.values(), key=lambda record: record["started"])
        planned = [{"id": record["id"], "overrides": record["overrides"]} for record in begun]
    reports = {cell["id"]: _report(directory, records.get(cell["id"])) for cell in planned}
    keys = varied([cell["overrides"] for cell in planned])
    cells = [_cell(cell, directory, records.get(cell["id"]), reports[cell["id"]], keys) for cell in planned]
    known = [report for report in reports.values() if report is not None]
    return {
        "schema": SCHEMA,
        "kind": "sweep",
        "name": plan["name"],
        "sweeper": plan["sweeper"],
        "words": plan["words"],
        "status": _status(cells),
        "started": min((record["started"] for record in records.values()), default=None),
        "varied": keys,
        "cells": cells,
        "differences": _differences({cell["id"]: reports[cell["id"]] for cell in planned}),
        "models": sorted({f"{r['model']['family']}, weights {r['model']['weights']}" for r in known}),
        "versions": _shared([report["environment"]["versions"] for report in known]),
        "hosts": sorted({report["environment"]["machine"]["host"] for report in known}),
    }


def _report(directory: Path, record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if record is None:
        return None
    path = directory / record["run"] / "report.json"
    if not path.is_file():
        return None
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def _cell(
    planned: Mapping[str, Any],
    directory: Path,
    record: Mapping[str, Any] | None,
    report: Mapping[str, Any] | None,
    keys: Sequence[str],
) -> dict[str, Any]:
    said = _pairs(planned["overrides"])
    finished = record is not None and record["exit_code"] is not None
    nothing: dict[str, Any] = {"verified": None, "weights": None, "figures": {}, "artifacts": {}}
    sound = finished and report is not None and record is not None and record["status"] in ("ok", "pending")
    run = None if record is None else directory / record["run"]
    state = run_state(report) if report is not None and sound else nothing
    return {
        "id": planned["id"],
        "overrides": planned["overrides"],
        "choices": {key: said.get(key, "") for key in keys},
        "status": MISSING if record is None else record["status"] if finished else UNFINISHED,
        "exit_code": None if record is None else record["exit_code"],
        "failure": None if record is None else record["failure"],
        "run": None if record is None else record["run"],
        "verified": state["verified"],
        "weights": state["weights"],
        "actions": {} if record is None else record["actions"],
        "figures": state["figures"],
        "error_by_length": error_by_length(run) if run is not None and sound else [],
        "latency_by_length": latency_by_length(report) if report is not None and sound else [],
        "artifacts": state["artifacts"],
        "pending": list(_waiting(report)) if report is not None and sound else [],
        "seconds": None if record is None else record["seconds"],
        "host": None if record is None else record["host"],
    }


def _waiting(report: Mapping[str, Any]) -> Iterator[str]:
    for step in report["steps"]:
        if step["action"] == "blocked":
            yield f"{step['label']}: {step['reason']}"


def _status(cells: Sequence[Mapping[str, Any]]) -> str:
    found = {cell["status"] for cell in cells}
    for worst in ("failed", UNFINISHED, MISSING, "pending"):
        if worst in found:
            return worst if worst in ("failed", "pending") else UNFINISHED
    return "ok"


def varied(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return the keys whose values differ between cells, in the order of the overrides.

    Args:
        cells: the overrides of each cell, as `key=value`.
    """
    pairs = [_pairs(cell) for cell in cells]
    keys = dict.fromkeys(key for said in pairs for key in said)
    return [key for key in keys if len({said.get(key) for said in pairs}) > 1]


def _pairs(overrides: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (override.partition("=") for override in overrides)}


def _differences(reports: Mapping[str, Mapping[str, Any] | None]) -> dict[str, dict[str, Any]]:
    """Return setting -> cell id -> value, for the settings whose values differ between cells with a report.

    A cell that does not have the setting is not in the inner mapping. Null is a value like any other.
    """
    configs = {name: flat("", report["config"]) for name, report in reports.items() if report is not None}
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    found = {}
    for key in keys:
        values = {name: config[key] for name, config in configs.items() if key in config}
        distinct = {json.dumps(value) for value in values.values()}
        if not key.startswith(_LEFT_OUT) and (len(distinct) > 1 or len(values) < len(configs)):
            found[key] = values
    return found


def _shared(versions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return package -> version. If cells were built with several versions, the text lists all of them."""
    names = sorted({name for one in versions for name in one})
    return {name: ", ".join(sorted({one[name] for one in versions if name in one})) for name in names}
