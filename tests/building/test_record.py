"""The record of a run: its steps by label and by action."""

from __future__ import annotations

import pytest

from cosybuild.building.record import Outcome, StepRecord
from cosybuild.building.status import Hit

RECORDS = (
    StepRecord("export", "export", Hit(), "hit", ""),
    StepRecord("engine sm_80", "engine", Hit(), "built", ""),
    StepRecord("engine sm_89", "engine", Hit(), "built", ""),
)


def test_a_record_is_found_by_its_label() -> None:
    assert [Outcome(RECORDS).record(record.label) for record in RECORDS] == list(RECORDS)
    with pytest.raises(KeyError, match="'engine'"):
        Outcome(RECORDS).record("engine")


def test_records_are_found_by_their_action() -> None:
    assert Outcome(RECORDS).doing("built") == RECORDS[1:]
    assert Outcome(RECORDS).doing("failed") == ()
