"""The facts of a run in its events and in its record."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cosybuild.building.stage import RunContext
from cosybuild.errors import ExportError, OutOfMemory
from cosybuild.store.remote import Remote
from cosybuild.store.result import StageResult
from cosybuild.store.store import Store
from cosybuild.system.environment import Environment
from tests.building.fakes import Bench, FakeStage, pipeline

REQUEST = {"opset": 18, "rounds": 3, "rtol": 1e-4, "profile": "default"}


def facts(bench: Bench, step: str) -> dict[str, Mapping[str, Any]]:
    """Return kind -> facts of the events of a step."""
    return {event.kind: event.facts for event in bench.seen if event.step == step}


def test_a_step_that_is_built_and_one_that_is_not_are_reported_with_their_facts(bench: Bench) -> None:
    outcome = bench.build(pipeline(), REQUEST)
    record, told = outcome.record("export"), facts(bench, "export")
    assert told["planned"] == {"verdict": "stale", "reason": "never built"}
    assert told["started"] == {"reason": "never built", "does": "joins what it is given", "expected": None}
    sizes = {slot: artifact.size for slot, artifact in record.outputs.items()}
    assert told["finished"] == {"seconds": record.seconds, "peak_bytes": record.peak_bytes, "outputs": sizes}
    assert sizes["graph"] > 0
    record = bench.build(pipeline(), REQUEST).record("export")
    assert facts(bench, "export") == {
        "planned": {"verdict": "hit", "reason": "already built"},
        "cached": {"action": "hit", "reason": "already built", "seconds": record.seconds},
    }
    assert record.seconds > 0


def test_a_step_that_was_built_before_is_reported_with_the_time_it_took(bench: Bench) -> None:
    took = bench.build(pipeline(), REQUEST).record("export").made["seconds"]
    bench.build(pipeline(), {**REQUEST, "opset": 20})
    assert facts(bench, "export")["started"]["expected"] == took > 0


def test_warnings_of_a_step_are_recorded_in_the_run_that_built_it_and_in_later_runs(bench: Bench) -> None:
    def work(context: RunContext) -> StageResult:
        context.emit("warning", message="a node is not fused")
        return stage.join(context)

    stage = FakeStage("engine", makes=("engine",), work=work)
    assert bench.build([stage]).record("engine").warnings == ("a node is not fused",)
    record = bench.build([stage]).record("engine")
    assert (record.action, record.warnings) == ("hit", ("a node is not fused",))
    assert "warning" not in facts(bench, "engine"), "a cached step does not warn on the console again"


def test_a_failed_step_keeps_its_warnings(bench: Bench) -> None:
    def work(context: RunContext) -> StageResult:
        context.emit("warning", message="before the failure")
        raise ExportError("it does not work")

    outcome = bench.build([FakeStage("export", makes=("graph",), work=work)])
    assert outcome.record("export").warnings == ("before the failure",)


def test_the_requirements_that_a_blocked_step_lacks_are_reported_one_by_one(bench: Bench) -> None:
    stage = FakeStage("engine", makes=("engine",), lacks=("a GPU", "tensorrt"))
    outcome = bench.build([stage])
    assert facts(bench, "engine")["blocked"] == {"lacks": ["a GPU", "tensorrt"]}
    assert outcome.record("engine").reason == "needs a GPU; tensorrt"


def test_a_stage_gets_the_request_and_the_machine_to_name_what_is_missing(bench: Bench) -> None:
    class Choosy(FakeStage):
        def missing(self, request: Mapping[str, Any], environment: Environment) -> tuple[str, ...]:
            return () if request["gpu"] is False or environment.gpus else (f"a GPU, has {environment.gpus}",)

    stage = Choosy("engine", makes=("engine",), reads=("gpu",))
    assert bench.build([stage], {"gpu": True}).record("engine").action == "blocked"
    assert bench.build([stage], {"gpu": False}).record("engine").action == "built"


def test_a_failure_is_reported_with_its_hint_and_recorded_for_every_step(bench: Bench) -> None:
    def fail(context: RunContext) -> StageResult:
        raise ExportError("no opset 99", hint="Next: opset=18")

    outcome = bench.build(pipeline(simplify={"work": fail}), REQUEST)
    assert facts(bench, "simplify")["failed"] == {
        "failure": "export",
        "message": "no opset 99",
        "hint": "Next: opset=18",
    }
    assert outcome.record("simplify").reason == "never built; no opset 99"
    engine = outcome.record("engine")
    assert (engine.stage, engine.planned.verdict) == ("engine", "unknown")


def test_a_defect_is_recorded_under_the_step_that_has_it(bench: Bench) -> None:
    def stumble(context: RunContext) -> StageResult:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bench.build(pipeline(simplify={"work": stumble}), REQUEST)
    failure = bench.kept[-1].failure
    assert failure is not None
    assert failure.step == "simplify"


def test_the_outcome_so_far_is_kept_after_every_step(bench: Bench) -> None:
    outcome = bench.build(pipeline(), REQUEST)
    assert [kept.records for kept in bench.kept] == [outcome.records[:n] for n in range(1, 5)]


def test_time_host_and_duration_of_a_build_are_stored_with_its_outputs(bench: Bench) -> None:
    record = bench.build(pipeline(), REQUEST).record("export")
    assert record.made == {
        "at": record.made["at"],
        "seconds": record.made["seconds"],
        "peak_bytes": record.peak_bytes,
        "host": platform.node(),
    }
    assert record.made["at"].endswith("+00:00")


def test_a_step_that_runs_every_time_is_recorded_like_a_stored_one(bench: Bench) -> None:
    def measure(context: RunContext) -> StageResult:
        return stage.write(context, "x", milliseconds=3)

    stage = FakeStage("measure", makes=("times",), cacheable=False, work=measure)
    record = bench.build([stage]).record("measure")
    assert record.metrics == {"milliseconds": 3}
    assert record.made["host"] == platform.node()
    assert [artifact.name for artifact in record.outputs.values()] == ["times"]


def test_a_hit_names_all_inputs_with_unchanged_content(bench: Bench) -> None:
    def make(context: RunContext) -> StageResult:
        return source.write(context, "the same whatever is asked")

    source = FakeStage("export", makes=("graph", "log"), reads=("opset",), work=make)
    reader = FakeStage("page", needs=("graph", "log"), makes=("page",))
    bench.build([source, reader], {"opset": 18})
    outcome = bench.build([source, reader], {"opset": 17})
    assert outcome.record("page").reason == "already built: no change in graph, log"


def test_a_disk_error_without_a_file_names_the_directory_of_the_step(bench: Bench) -> None:
    given: list[Path] = []

    def write(context: RunContext) -> StageResult:
        given.append(context.workdir)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    outcome = bench.build([FakeStage("export", makes=("graph",), work=write)])
    assert outcome.failure is not None
    assert str(given[0]) in outcome.failure.message
    assert outcome.failure.hint == "Next: python -m cosybuild gc --dry-run, or store.path=... on another disk"


@pytest.mark.parametrize("then", ["publish", "push"])
def test_a_lack_of_memory_after_a_stage_ran_names_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    def devour(*arguments: object) -> None:
        raise MemoryError

    bench = Bench(Store(tmp_path / "store", remote=Remote((tmp_path / "remote").as_uri())))
    monkeypatch.setattr(bench.store, then, devour)
    outcome = bench.build([FakeStage("export", makes=("graph",))])
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.step) == (OutOfMemory.kind, "export")
    assert "'export' ran out of memory." in outcome.failure.message
    assert outcome.failure.hint is not None
    assert "run the same command again" in outcome.failure.hint
