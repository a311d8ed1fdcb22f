"""A sweep's record in every state, and the exit code of that state."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cosybuild.building.record import Failure
from cosybuild.config.sweep_naming import cell_id
from cosybuild.report.sweep import gather
from cosybuild.sweeps.records import RUNNING, CellRecord, exit_code, write_cell, write_plan

CELLS = [["trt=none", "export=opset17"], ["trt=none", "export=opset18"], ["trt=none", "export=opset20"]]


def record(cell: list[str], status: str, code: int | None, **more: Any) -> CellRecord:
    made = CellRecord(tuple(cell), f"../../runs/{cell_id(cell)}", status, started=1.0, host="a")
    return dataclasses.replace(made, exit_code=code, **more)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    directory = tmp_path / "outputs" / "sweeps" / "s"
    write_plan(directory, sweeper="basic", words=["export=opset17,opset18,opset20", "trt=none"], cells=CELLS)
    return directory


def test_a_cell_that_never_began_is_missing(sweep: Path) -> None:
    found = gather(sweep)
    assert [cell["status"] for cell in found["cells"]] == ["missing"] * 3
    assert (found["status"], found["varied"], exit_code(found)) == ("unfinished", ["export"], 4)


def test_a_cell_that_began_and_did_not_end_is_unfinished(sweep: Path) -> None:
    write_cell(sweep, record(CELLS[1], RUNNING, None))
    assert [cell["status"] for cell in gather(sweep)["cells"]] == ["missing", "unfinished", "missing"]


def test_a_cell_that_runs_again_loses_its_earlier_state(sweep: Path) -> None:
    write_cell(sweep, record(CELLS[0], "ok", 0))
    write_cell(sweep, record(CELLS[0], RUNNING, None))
    assert gather(sweep)["cells"][0]["status"] == "unfinished"


@pytest.mark.parametrize(
    ("ends", "status", "code"),
    [
        ((("ok", 0), ("ok", 0), ("ok", 0)), "ok", 0),
        ((("ok", 0), ("pending", 9), ("ok", 0)), "pending", 9),
        ((("pending", 9), ("failed", 5), ("failed", 2)), "failed", 5),
        ((("failed", 2), ("failed", 5), ("pending", 9)), "failed", 2),
    ],
)
def test_the_exit_code_is_that_of_the_first_failure(sweep: Path, ends: Any, status: str, code: int) -> None:
    for cell, (end, number) in zip(CELLS, ends, strict=True):
        failure = Failure("export", "k", "m", None, number) if end == "failed" else None
        write_cell(sweep, record(cell, end, number, failure=failure))
    found = gather(sweep)
    assert (found["status"], exit_code(found)) == (status, code)


def test_a_search_has_the_cells_it_tried_in_that_order(tmp_path: Path) -> None:
    write_plan(tmp_path, sweeper="optuna", words=["trt=choice(fp16,fp32)"], cells=None)
    for started, cell in ((2.0, CELLS[0]), (1.0, CELLS[2])):
        write_cell(tmp_path, dataclasses.replace(record(cell, "ok", 0), started=started))
    assert [cell["overrides"] for cell in gather(tmp_path)["cells"]] == [CELLS[2], CELLS[0]]


def test_each_cell_has_a_file_of_its_own(sweep: Path) -> None:
    for cell in CELLS:
        write_cell(sweep, record(cell, "ok", 0))
    names = {path.stem for path in (sweep / "cells").iterdir()}
    assert names == {cell_id(cell) for cell in CELLS}
    assert json.loads((sweep / "plan.json").read_text())["name"] == "s"
