"""Stored inputs that are damaged or removed while a build needs them, and gc beside builds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cosybuild.building.stage import RunContext
from cosybuild.store.check import check
from cosybuild.store.gc import collect
from cosybuild.store.result import StageResult
from cosybuild.store.store import Store
from tests.building.fakes import Bench, FakeStage, actions, complete, pipeline
from tests.store.storing import rot

NAMES = ("export", "simplify", "verify", "engine")
Harm = Callable[[Path], None]


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("harm", [remove, rot])
def test_a_lost_or_damaged_input_is_built_again(bench: Bench, harm: Harm) -> None:
    """The damage keeps the times, and a step that reads the content would pass it on."""
    first = bench.build(pipeline())
    harm(first.record("simplify").outputs["graph"].path)
    stages = pipeline()
    outcome = bench.build(stages, {"profile": "short"})
    assert complete(outcome)
    assert [stage.ran for stage in stages] == [0, 1, 1, 1]
    assert outcome.record("engine").inputs == first.record("engine").inputs
    assert outcome.record("simplify").outputs["graph"].path.read_text().startswith("graph\nsimplify")
    assert not check(bench.store, repair=False).faults


@pytest.mark.parametrize("harm", [remove, rot])
def test_the_inputs_of_a_lost_input_are_built_again_too(bench: Bench, harm: Harm) -> None:
    first = bench.build(pipeline())
    for name in ("export", "simplify"):
        harm(first.record(name).outputs["graph"].path)
    outcome = bench.build(pipeline(), {"profile": "short"})
    assert complete(outcome)
    assert {name: actions(outcome)[name] for name in ("export", "simplify")} == {"export": "built", "simplify": "built"}
    assert [record.label for record in outcome.records] == list(NAMES)


def test_an_input_that_is_removed_while_the_step_reads_it_is_built_again(bench: Bench) -> None:
    stages = pipeline()

    def work(context: RunContext) -> StageResult:
        if stages[3].ran == 1:
            context.inputs["lowered"].path.unlink()
        return stages[3].join(context)

    stages[3].work = work
    outcome = bench.build(stages)
    assert complete(outcome)
    assert [stage.ran for stage in stages] == [1, 2, 1, 2]
    assert actions(outcome) == dict.fromkeys(NAMES, "built")


def test_an_input_that_is_removed_each_time_ends_with_an_error(bench: Bench) -> None:
    stages = pipeline()

    def work(context: RunContext) -> StageResult:
        context.inputs["lowered"].path.unlink()
        return stages[3].join(context)

    stages[3].work = work
    failure = bench.build(stages).failure
    assert failure is not None
    assert (failure.kind, failure.exit_code) == ("store", 7)
    assert failure.message.startswith("The inputs of the step 'engine' were removed from the store")


@pytest.mark.parametrize("after", [False, True])
def test_a_store_that_is_removed_while_a_step_runs_is_an_error_of_the_user(bench: Bench, *, after: bool) -> None:
    stage = FakeStage("export", makes=("graph",))

    def work(context: RunContext) -> StageResult:
        result = stage.join(context) if after else None
        shutil.rmtree(bench.store.path)
        return result or stage.join(context)

    stage.work = work
    failure = bench.build([stage]).failure
    assert failure is not None
    assert (failure.kind, failure.exit_code) == ("store", 7)
    assert "was removed while the step ran" in failure.message
    assert failure.hint is not None
    stage.work = None
    assert complete(bench.build([stage])), "the next build makes the store anew"


@pytest.mark.parametrize("name", NAMES)
def test_gc_without_a_grace_period_removes_nothing_that_a_running_build_uses(bench: Bench, name: str) -> None:
    """The plan found all results long ago, and gc runs during each step."""
    bench.build(pipeline())
    time.sleep(0.02)  # later than the tick in which it was used
    stages = pipeline(**{name: {"reads": ("opset", "rounds", "rtol", "profile", "new")}})
    removed = []

    def clean_and(stage: FakeStage) -> Callable[[RunContext], StageResult]:
        def work(context: RunContext) -> StageResult:
            collected = collect(Store(bench.store.path), older_than=0.0, grace=0.0)
            removed.extend(entry.stage for entry in collected.entries)
            return stage.join(context)

        return work

    for stage in stages:
        stage.work = clean_and(stage)
    outcome = bench.build(stages, {"new": "1"})
    assert complete(outcome)
    assert actions(outcome)[name] == "built"
    assert set(removed) <= {name} | ({"simplify", "verify", "engine"} if name == "export" else {"verify", "engine"})
    for record in outcome.records:
        assert all(artifact.path.exists() for artifact in record.outputs.values())


def test_gc_after_the_build_removes_the_results_that_it_used(bench: Bench) -> None:
    bench.build(pipeline())
    time.sleep(0.02)  # as above
    assert len(collect(bench.store, older_than=0.0, grace=0.0).entries) == len(NAMES)
