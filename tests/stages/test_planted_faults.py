"""The expected gate catches every planted fault with a margin of ten to a right build, as the page says."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def planted_faults() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("planted_faults")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.timeout(1800)
def test_every_planted_fault_is_caught_by_its_gate_with_a_margin(
    planted_faults: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(planted_faults.FAULTS) == 12
    monkeypatch.setattr(sys, "argv", ["planted_faults.py", "--check"])
    assert planted_faults.main() == 0, capsys.readouterr().err


def test_faults_that_are_not_caught_or_are_close_to_the_gate_are_reported(planted_faults: Any) -> None:
    fault, other = planted_faults.FAULTS[0], planted_faults.FAULTS[2]
    assert fault.gate == other.gate
    reading, row = planted_faults.Reading, planted_faults.Row
    good = row(fault, f"... {fault.names} ...", reading(60.0, 94.0, "dB"), reading(110.0, 94.0, "dB"))
    assert planted_faults.complaints([good]) == []
    missed = row(fault, "something else", reading(60.0, 94.0, "dB"), reading(110.0, 94.0, "dB"))
    assert "not called" in planted_faults.complaints([missed])[0]
    close = row(other, other.names, reading(93.0, 94.0, "dB"), reading(112.0, 94.0, "dB"))
    own, gate = planted_faults.complaints([close, good])
    assert own == f"{other.name}: margin 8.9"
    assert gate == "gate hop export: its smallest fault is 93 dB, the worst right build 110 dB"
