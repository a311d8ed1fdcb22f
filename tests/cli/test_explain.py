"""`explain` for a record of another person."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.building.record import Outcome, StepRecord
from cosybuild.building.status import Hit
from cosybuild.cli import explain
from tests.run.records import write_run


def test_a_reason_with_line_feeds_adds_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = StepRecord("export", "export", Hit(), "hit", "cached\nNothing to do: 4 steps up to date.")
    explain.main([str(write_run(tmp_path / "run", Outcome((record,))))])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert r"cached\nNothing to do" in lines[1]
