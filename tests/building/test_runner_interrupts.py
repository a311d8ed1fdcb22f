"""Ctrl-C at any moment of a run is recorded and raised again, and the next run continues."""

from __future__ import annotations

import pytest

from cosybuild.building.failures import INTERRUPTED
from cosybuild.building.record import Outcome
from cosybuild.building.stage import RunContext
from cosybuild.store.result import StageResult
from tests.building.fakes import Bench, actions, pipeline

REQUEST = {"opset": 18, "rounds": 3, "rtol": 1e-4, "profile": "default"}


class Interrupted(list[Outcome]):
    """A sink for which Ctrl-C arrives while the first outcome is recorded."""

    def append(self, outcome: Outcome) -> None:
        super().append(outcome)
        if len(self) == 1:
            raise KeyboardInterrupt


def test_ctrl_c_is_recorded_and_raised_again_and_the_next_run_continues(bench: Bench) -> None:
    stages = pipeline()

    def interrupt(context: RunContext) -> StageResult:
        raise KeyboardInterrupt

    stages[2].work = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench.build(stages, REQUEST)
    assert [len(outcome.records) for outcome in bench.kept] == [1, 2, 4]
    failure = bench.kept[-1].failure
    assert failure is not None
    assert (failure.step, failure.kind, failure.exit_code) == ("verify", "interrupted", INTERRUPTED)
    assert list((bench.store.path / "tmp").iterdir()) == []
    stages[2].work = None
    continued = bench.build(stages, REQUEST)
    assert actions(continued) == {"export": "hit", "simplify": "hit", "verify": "built", "engine": "built"}


def test_ctrl_c_while_a_finished_step_is_being_recorded_is_recorded_too(bench: Bench) -> None:
    bench.kept = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        bench.build(pipeline(), REQUEST)
    assert [record.action for record in bench.kept[-1].records] == ["built", "failed", "not reached", "not reached"]
    failure = bench.kept[-1].failure
    assert failure is not None
    assert (failure.step, failure.kind) == ("simplify", "interrupted")
