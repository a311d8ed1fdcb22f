"""What a sweep keeps beside its report: which cells were planned, and where each of them stands.

    outputs/sweeps/<name>/
      plan.json            {"schema", "kind": "sweep plan", "name", "sweeper", "words", "objective", "cells": [{"id",
                           "overrides"}] | null}; null where the sweeper decides as it goes
      cells/<id>.json      one a cell, written when it begins and again when it ends, by whatever process ran it
      multirun.yaml        Hydra's own record

Each cell has a file of its own, so that jobs in other processes and on other machines never write the same one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosybuild.config.sweep_naming import cell_id
from cosybuild.core.plain import SCHEMA, write_json
from cosybuild.report.sweep import CELLS, PLAN

RUNNING = "running"


@dataclass(frozen=True)
class CellRecord:
    """Where one cell stands.

    Attributes:
        overrides: what makes it this cell.
        run: its run directory, relative to the sweep's.
        status: `running`, `ok`, `pending` or `failed`.
        exit_code: what a command of its own would have ended with; None while it runs.
        failure: kind, message and hint, where it failed.
        actions: step -> what was done in this round; `cached` for all of them where the run was up to date.
        started, seconds: when the round began, and how long it took.
        objective: what it told the sweeper.
        host: where it ran.
    """

    overrides: tuple[str, ...]
    run: str
    status: str
    started: float
    host: str
    exit_code: int | None = None
    failure: Mapping[str, Any] | None = None
    actions: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    objective: Mapping[str, float | None] = field(default_factory=dict)


def write_plan(directory: Path, *, sweeper: str, words: Sequence[str], cells: Sequence[Sequence[str]] | None) -> None:
    """Write what is planned; `cells` is None where the sweeper chooses as it goes."""
    planned = None if cells is None else [{"id": cell_id(cell), "overrides": list(cell)} for cell in cells]
    plan = {"schema": SCHEMA, "kind": "sweep plan", "name": directory.name, "sweeper": sweeper}
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / PLAN, {**plan, "words": list(words), "cells": planned})


def write_cell(directory: Path, record: CellRecord) -> None:
    """Write a cell's record; a reader sees the old one or this one."""
    cells = directory / CELLS
    cells.mkdir(parents=True, exist_ok=True)
    identity = cell_id(record.overrides)
    plain = {"schema": SCHEMA, "kind": "cell", "id": identity, **dataclasses.asdict(record)}
    write_json(cells / f"{identity}.json", plain)


def codes(sweep: Mapping[str, Any]) -> Iterator[int]:
    """The exit code of each cell of a sweep.json, in the cells' order."""
    from cosybuild.errors import BuildError

    for cell in sweep["cells"]:
        yield BuildError.exit_code if cell["exit_code"] is None else int(cell["exit_code"])


def exit_code(sweep: Mapping[str, Any]) -> int:
    """0 if every cell is; else the first failure's, a cell that left no record counting as a failed build;
    9 where nothing failed and something waits for another machine."""
    from cosybuild.errors import Pending

    found = [code for code in codes(sweep) if code != 0]
    return next((code for code in found if code != Pending.exit_code), found[0] if found else 0)
