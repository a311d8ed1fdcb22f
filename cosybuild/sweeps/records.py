"""The records of a sweep beside its report: the planned cells, and the state of each.

    outputs/sweeps/<name>/
      plan.json            the `SweepPlan`
      cells/<id>.json      the `CellRecord` of a cell, written when it begins and again when it ends
      multirun.yaml        Hydra's own record

Each cell has a file of its own, so that jobs in other processes and on other machines never write the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosybuild.building.record import Failure
from cosybuild.config.sweep_naming import cell_id
from cosybuild.report.sweep import CELLS, PLAN
from cosybuild.system.json_records import SCHEMA, read_json, write_json
from cosybuild.system.typed_json import from_json, to_json

RUNNING = "running"


@dataclass(frozen=True)
class CellRecord:
    """The state of one cell.

    Attributes:
        overrides: the overrides that identify the cell.
        run: its run directory, relative to the directory of the sweep.
        status: `running`, `ok`, `pending` or `failed`.
        started: the time when the cell's last build began, in seconds since the epoch.
        host: the machine that ran it.
        exit_code: the exit code that a command with this cell alone would have; None while the cell runs.
        failure: the failure of a failed cell, else None.
        actions: label of a step -> its action in the last build; `cached` for all steps if the run was up to date.
        seconds: the duration of the last build; None while the cell runs.
        objective: name -> value of the figures that the sweeper minimises; None for a figure without a value.
    """

    overrides: tuple[str, ...]
    run: str
    status: str
    started: float
    host: str
    exit_code: int | None = None
    failure: Failure | None = None
    actions: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    objective: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedCell:
    """A cell in the plan of a sweep: its id, and the overrides that identify it."""

    id: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class SweepPlan:
    """The plan of a sweep, as plan.json states it.

    Attributes:
        name: the name of the sweep.
        sweeper: the option of Hydra's group `hydra/sweeper`.
        words: the overrides of the command.
        cells: the cells in their order; None if the sweeper chooses the cells one after another.
    """

    name: str
    sweeper: str
    words: tuple[str, ...]
    cells: tuple[PlannedCell, ...] | None


def write_plan(directory: Path, *, sweeper: str, words: Sequence[str], cells: Sequence[Sequence[str]] | None) -> None:
    """Write the plan of a sweep into its directory.

    Args:
        directory: the directory of the sweep, which is made if it does not exist.
        sweeper: the option of Hydra's group `hydra/sweeper`.
        words: the overrides of the command.
        cells: the overrides of each cell; None if the sweeper chooses the cells one after another.
    """
    planned = None if cells is None else tuple(PlannedCell(cell_id(cell), tuple(cell)) for cell in cells)
    directory.mkdir(parents=True, exist_ok=True)
    plan = SweepPlan(directory.name, sweeper, tuple(words), planned)
    write_json(directory / PLAN, {"schema": SCHEMA, "kind": "sweep plan", **to_json(plan)})


def read_plan(directory: Path) -> SweepPlan:
    """Read the plan of a sweep.

    Raises:
        OSError, ValueError: there is no plan, or it is not JSON.
        ConfigurationError: a field is missing or of the wrong type.
    """
    path = directory / PLAN
    return from_json(read_json(path.read_bytes()), SweepPlan, str(path))


def remove_cells(directory: Path) -> None:
    """Remove the records of all cells. A sweep in the same directory calls this before it runs the cells again."""
    for path in (directory / CELLS).glob("*.json"):
        path.unlink(missing_ok=True)


def write_cell(directory: Path, record: CellRecord) -> None:
    """Write the record of a cell atomically: a reader sees the old record or the new one."""
    cells = directory / CELLS
    cells.mkdir(parents=True, exist_ok=True)
    identity = cell_id(record.overrides)
    plain = {"schema": SCHEMA, "kind": "cell", "id": identity, **to_json(record)}
    write_json(cells / f"{identity}.json", plain)


def codes(sweep: Mapping[str, Any]) -> Iterator[int]:
    """Yield the exit code of each cell in the content of sweep.json; that of BuildError for a cell without end."""
    from cosybuild.errors import BuildError

    for cell in sweep["cells"]:
        yield BuildError.exit_code if cell["exit_code"] is None else int(cell["exit_code"])


def exit_code(sweep: Mapping[str, Any]) -> int:
    """Return the exit code of a sweep: 0 if every cell has 0, else that of the first failed cell.

    A cell without a record of its end counts as a failed build. The code is 9 if no cell failed, but some cells wait
    for another machine.

    Args:
        sweep: the content of sweep.json.
    """
    from cosybuild.errors import Pending

    found = [code for code in codes(sweep) if code != 0]
    return next((code for code in found if code != Pending.exit_code), found[0] if found else 0)
