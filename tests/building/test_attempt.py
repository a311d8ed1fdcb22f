"""The record of a step has all facts that are known when it is made."""

from __future__ import annotations

from pathlib import Path

from cosybuild.building.attempt import Attempt
from cosybuild.building.plan import Step
from cosybuild.building.record import Input, StepRecord
from cosybuild.building.status import Stale
from cosybuild.building.wiring import Wire
from cosybuild.store.artifact import Artifact, StoredFile
from cosybuild.store.key import CacheKey, Reason
from tests.building.fakes import FakeClock, FakeStage

GRAPH = Artifact("graph", (StoredFile("graph.onnx", Path("graph.onnx"), "0" * 64, 10),))
WIRES = (Wire("graph", "graph", "simplify"), Wire("calibration", "calibration", "calibrate"))
STALE = Stale((Reason("settings.opset", "17", "18"),))
STEP = Step(FakeStage("engine", label="engine sm_89"), STALE, wires=WIRES)


def test_the_record_of_a_step_that_has_only_begun_has_the_plan() -> None:
    record = Attempt(STEP, FakeClock(100.0)).record("blocked", "needs a GPU")
    assert record == StepRecord(
        "engine sm_89", "engine", STALE, "blocked", "needs a GPU", started=100.0, seconds=1.0
    )  # one second for each call of `elapsed`


def test_the_record_of_a_step_that_was_built_is_complete() -> None:
    attempt = Attempt(STEP, FakeClock(100.0))
    attempt.inputs = {"graph": GRAPH}
    parts = {"settings.opset": "18", "environment.tensorrt": "10.0", "environment.environment.x": "1"}
    attempt.key, attempt.why, attempt.peak_bytes = CacheKey("engine", parts), STALE, 7
    assert attempt.record("built", "settings.opset: 17 -> 18", {"engine": GRAPH}, {"layers": 3}, {"host": "here"}) == (
        StepRecord(
            "engine sm_89", "engine", STALE, "built", "settings.opset: 17 -> 18", STALE.reasons, 100.0, 1.0, 7,
            attempt.key, {"graph": Input("simplify", GRAPH.digest)}, {"engine": GRAPH}, {"layers": 3},
            {"tensorrt": "10.0", "environment.x": "1"}, {"host": "here"})
    )  # fmt: skip


def test_the_record_has_the_reasons_of_steps_that_ran() -> None:
    attempt = Attempt(STEP, FakeClock())
    assert attempt.record("failed", "no").reasons == (), "it is not known yet"
    attempt.why = STALE
    ran = {action: attempt.record(action, "").reasons for action in ("built", "failed", "hit", "pulled", "blocked")}
    assert [action for action, reasons in ran.items() if reasons] == ["built", "failed"]
    assert ran["failed"] == STALE.reasons
