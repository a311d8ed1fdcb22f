"""The history of a sweep: a damaged report is left out, old ones are removed, an unfinished sweep is not kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cosybuild.report.sweep_history import since
from cosybuild.sweeps.history import HISTORY, keep_report, last_report
from tests.report.test_sweep_page import SWEEP


def put(directory: Path, **changes: Any) -> None:
    (directory / "sweep.json").write_text(json.dumps({**SWEEP, **changes}), encoding="utf-8")


def test_a_finished_sweep_is_kept_and_compared(tmp_path: Path) -> None:
    assert last_report(tmp_path) is None
    keep_report(tmp_path)
    put(tmp_path)
    keep_report(tmp_path)
    found = last_report(tmp_path)
    assert found is not None
    assert since(SWEEP, found) == {"started": SWEEP["started"], "changes": []}


def test_an_unfinished_sweep_is_not_kept(tmp_path: Path) -> None:
    put(tmp_path, status="unfinished")
    keep_report(tmp_path)
    assert not (tmp_path / HISTORY).exists()


def test_the_oldest_reports_are_removed(tmp_path: Path) -> None:
    for hour in range(53):
        put(tmp_path, started=1_795_800_000.0 + 3600 * hour)
        keep_report(tmp_path)
    kept = sorted(path.name for path in (tmp_path / HISTORY).iterdir())
    assert len(kept) == 50
    assert kept[0] == "20261127T202000Z.json"


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[" * 10_000,
        "[]",
        json.dumps({**SWEEP, "cells": [{"id": "0000000000"}]}),
        json.dumps({**SWEEP, "started": 1e300}),
        json.dumps({**SWEEP, "cells": [{**SWEEP["cells"][0], "figures": {"error": "much"}}]}),
        json.dumps({**SWEEP, "cells": [{**SWEEP["cells"][0], "artifacts": {"x": 1}}]}),
    ],
)
def test_a_damaged_report_is_not_compared(tmp_path: Path, damage: str) -> None:
    (tmp_path / HISTORY).mkdir()
    (tmp_path / HISTORY / "20261127T172000Z.json").write_text(damage, encoding="utf-8")
    assert last_report(tmp_path) is None
