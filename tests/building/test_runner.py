"""The runner: which steps are built, and what is recorded."""

from __future__ import annotations

import errno
import os
import platform
import threading
from pathlib import Path

import pytest

from cosybuild.building.outputs import StageDefect
from cosybuild.building.record import Input
from cosybuild.building.stage import RunContext
from cosybuild.errors import DEFECT, ExportError, OutOfMemory, StoreError
from cosybuild.store.remote import Remote
from cosybuild.store.result import StageResult
from cosybuild.store.store import Store
from tests.building.fakes import Bench, FakeStage, actions, complete, in_thread, pipeline, verdicts

REQUEST = {"opset": 18, "rounds": 3, "rtol": 1e-4, "profile": "default"}
ALL = ["export", "simplify", "verify", "engine"]


def test_a_first_build_builds_everything_once_and_a_second_nothing(bench: Bench) -> None:
    stages = pipeline()
    first = bench.build(stages, REQUEST)
    assert actions(first) == dict.fromkeys(ALL, "built")
    assert complete(first)
    assert bench.kinds("export") == ["planned", "started", "finished"]
    second = bench.build(stages, REQUEST)
    assert actions(second) == dict.fromkeys(ALL, "hit")
    assert complete(second)
    assert bench.kinds("export") == ["planned", "cached"]
    assert [stage.ran for stage in stages] == [1] * 4
    assert [r.outputs for r in second.records] == [r.outputs for r in first.records]


def test_a_step_is_recorded_with_everything_that_it_depends_on(bench: Bench, tmp_path: Path) -> None:
    weights = tmp_path / "flow.pt"
    weights.write_text("weights")
    bench.sources = {"weights": bench.store.source("weights", weights)}
    stages = pipeline()
    stages[1].work = lambda context: stages[1].write(context, "simple", nodes=12)
    outcome = bench.build(stages, REQUEST)
    export, simplify = outcome.record("export"), outcome.record("simplify")
    assert export.inputs == {"weights": Input("source", bench.sources["weights"].digest)}
    assert simplify.inputs == {"graph": Input("export", export.outputs["graph"].digest)}
    assert simplify.reason == "never built"
    assert simplify.planned.explain() == "waits for the content of graph"
    assert simplify.metrics == {"nodes": 12}
    assert simplify.environment == {"simplifier": "2.0"}
    assert simplify.key is not None
    assert simplify.key.parts["settings.rounds"] == "3"
    assert simplify.seconds > simplify.made["seconds"] > 0
    assert simplify.started is not None
    assert simplify.made["at"].startswith("2027-01-15T")
    assert [f.name for f in simplify.outputs["graph"].files] == ["graph.txt"]
    assert outcome.record("engine").inputs["lowered"] == Input("simplify", simplify.outputs["graph"].digest)
    cached = bench.build(stages, REQUEST).record("simplify")
    assert (cached.metrics, cached.made, cached.key) == (simplify.metrics, simplify.made, simplify.key)
    assert cached.peak_bytes is None


def test_an_output_with_the_same_content_ends_the_rebuild(bench: Bench) -> None:
    stages = pipeline()
    stages[0].work = lambda context: stages[0].write(context, "the same graph whatever the opset")
    bench.build(stages, REQUEST)
    changed = {**REQUEST, "opset": 17}
    assert verdicts(bench.plan(stages, changed))["simplify"] == "unknown: waits for the content of graph"
    outcome = bench.build(stages, changed)
    assert actions(outcome) == {"export": "built", "simplify": "hit", "verify": "hit", "engine": "hit"}
    assert outcome.record("export").reason == "settings.opset: 18 -> 17"
    assert [r.part for r in outcome.record("export").reasons] == ["settings.opset"]
    assert outcome.record("simplify").reason == "already built: no change in graph"
    assert outcome.record("simplify").reasons == ()


def test_a_changed_content_is_the_reason_of_later_steps(bench: Bench) -> None:
    old = bench.build(pipeline(), REQUEST)
    new = bench.build(pipeline(), {**REQUEST, "rounds": 4})
    digests = [outcome.record("simplify").outputs["graph"].digest[:12] for outcome in (old, new)]
    assert new.record("engine").reason == f"input.lowered: {digests[0]} -> {digests[1]}"
    assert actions(new) == {"export": "hit", "simplify": "built", "verify": "built", "engine": "built"}


def test_a_step_that_does_not_depend_on_a_blocked_step_still_runs(bench: Bench) -> None:
    stages = [
        *pipeline(engine={"lacks": ("a GPU",)}),
        FakeStage("bench", needs=("engine",)),
        FakeStage("last", makes=("x",)),
    ]
    outcome = bench.build(stages, REQUEST)
    assert actions(outcome) == {**dict.fromkeys(ALL, "built"), "engine": "blocked", "bench": "blocked", "last": "built"}
    assert outcome.record("engine").reason == "needs a GPU"
    assert outcome.record("engine").key is not None
    assert outcome.record("bench").reason == "needs engine from 'engine', which is blocked"
    assert outcome.record("bench").key is None
    assert (outcome.failure, complete(outcome)) == (None, False)
    assert bench.kinds("engine") == ["planned", "blocked"]
    assert stages[3].ran == stages[4].ran == 0


def test_a_blocked_step_is_a_hit_if_its_input_has_the_same_content(bench: Bench) -> None:
    stages = pipeline()
    stages[0].work = lambda context: stages[0].write(context, "the same")
    bench.build(stages, REQUEST)
    stages[3].lacks = ("a GPU",)
    changed = {**REQUEST, "opset": 17}
    assert verdicts(bench.plan(stages, changed))["engine"] == "blocked: needs a GPU"
    assert actions(bench.build(stages, changed))["engine"] == "hit"


def test_a_remote_store_is_queried_before_a_build_and_receives_the_result_after_it(
    bench: Bench, tmp_path: Path
) -> None:
    remote = (tmp_path / "remote").as_uri()
    here = Bench(Store(tmp_path / "here", remote=Remote(remote)))
    here.build(pipeline(), REQUEST)
    there = Bench(Store(tmp_path / "there", remote=Remote(remote)))
    stages = pipeline(engine={"lacks": ("a GPU",)})
    outcome = there.build(stages, REQUEST)
    assert actions(outcome) == dict.fromkeys(ALL, "pulled")
    assert complete(outcome)
    assert outcome.record("engine").reason == "fetched from the remote"
    assert there.kinds("engine") == ["planned", "cached"]
    assert sum(stage.ran for stage in stages) == 0


def test_an_error_ends_the_run_and_is_not_cached(bench: Bench) -> None:
    stages = pipeline()
    healthy = stages[1].work

    def fail(context: RunContext) -> StageResult:
        (context.workdir / "graph.txt").write_text("half a graph")
        raise ExportError("no opset 99", hint="Next: opset=18")

    stages[1].work = fail
    for _ in range(2):
        outcome = bench.build(stages, REQUEST)
        assert outcome.failure is not None
        assert (outcome.failure.step, outcome.failure.kind, outcome.failure.exit_code) == ("simplify", "export", 4)
        assert (outcome.failure.message, outcome.failure.hint) == ("no opset 99", "Next: opset=18")
        assert actions(outcome)["simplify"] == "failed"
        assert actions(outcome)["verify"] == actions(outcome)["engine"] == "not reached"
        assert bench.kinds("simplify") == ["planned", "started", "failed"]
        assert bench.kept[-1] == outcome
    assert stages[1].ran == 2
    assert outcome.record("simplify").key is not None
    assert outcome.record("engine").reason == "the build ended at 'simplify'"
    stages[1].work = healthy
    assert actions(bench.build(stages, REQUEST)) == {**dict.fromkeys(ALL, "built"), "export": "hit"}


def test_a_defect_is_recorded_and_raised_unchanged(bench: Bench) -> None:
    stages = pipeline()

    def stumble(context: RunContext) -> StageResult:
        return StageResult({"graph": [context.inputs["nothing"].path]})

    stages[0].work = stumble
    with pytest.raises(KeyError):
        bench.build(stages, REQUEST)
    failure = bench.kept[-1].failure
    assert failure is not None
    assert (failure.kind, failure.message, failure.exit_code) == ("defect", "KeyError: 'nothing'", DEFECT)


def test_an_out_of_memory_error_names_the_step_and_its_memory(bench: Bench) -> None:
    def devour(context: RunContext) -> StageResult:
        block = bytearray(64 << 20)
        raise MemoryError(len(block))

    outcome = bench.build([FakeStage("engine", makes=("engine",), work=devour)])
    assert outcome.failure is not None
    assert outcome.failure.kind == OutOfMemory.kind
    assert "'engine' ran out of memory after taking" in outcome.failure.message
    peak = outcome.record("engine").peak_bytes
    assert peak is not None
    assert peak >= 60 << 20


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only")],
)
def test_the_error_names_a_disk_that_is_full(bench: Bench, number: int, words: str) -> None:
    def write(context: RunContext) -> StageResult:
        raise OSError(number, "no", str(context.workdir / "graph.onnx"))

    outcome = bench.build([FakeStage("export", makes=("graph",), work=write)])
    assert outcome.failure is not None
    assert outcome.failure.kind == StoreError.kind
    assert "'export'" in outcome.failure.message
    assert "graph.onnx" in outcome.failure.message
    assert words in outcome.failure.message


def test_any_other_error_of_the_system_is_a_defect(bench: Bench) -> None:
    def read(context: RunContext) -> StageResult:
        (context.workdir / "absent").read_text()
        raise AssertionError("not reached")

    with pytest.raises(FileNotFoundError):
        bench.build([FakeStage("export", makes=("graph",), work=read)])


def _outside(context: RunContext) -> StageResult:
    path = context.workdir.parent / "graph.txt"
    path.write_text("x")
    return StageResult({"graph": [path]})


def _linked_outside(context: RunContext) -> StageResult:
    path = context.workdir / "graph.txt"
    path.symlink_to(__file__)
    return StageResult({"graph": [path]})


def _empty(context: RunContext) -> StageResult:
    path = context.workdir / "graph.txt"
    path.touch()
    return StageResult({"graph": [path]})


def _of_one_name(context: RunContext) -> StageResult:
    paths = [context.workdir / "a" / "graph.txt", context.workdir / "graph.txt"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    return StageResult({"graph": paths})


def _with_odd_metrics(context: RunContext) -> StageResult:
    path = context.workdir / "graph.txt"
    path.write_text("x")
    return StageResult({"graph": [path]}, {"shape": {1, 2}})


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda context: StageResult({}), r"declares the outputs \['graph'\] but made \[\]"),
        (lambda context: StageResult({"graph": [], "log": []}), r"made \['graph', 'log'\]"),
        (lambda context: StageResult({"graph": []}), "the output 'graph' of the step 'export' has no file"),
        (lambda context: StageResult({"graph": [context.workdir / "graph.txt"]}), "was not written: graph.txt"),
        (lambda context: StageResult({"graph": [context.workdir]}), "was not written"),
        (_empty, "graph.txt has 0 bytes"),
        (_outside, "outside its working directory"),
        (_linked_outside, "outside its working directory"),
        (_of_one_name, "two files with the same name"),
        (_with_odd_metrics, "not plain JSON data"),
    ],
)
def test_a_result_that_contradicts_its_declaration_is_a_defect_and_is_not_published(
    bench: Bench, work: object, message: str
) -> None:
    stage = FakeStage("export", makes=("graph",), work=work)  # type: ignore[arg-type]  # parametrised
    with pytest.raises(StageDefect, match=message):
        bench.build([stage])
    assert list(bench.store.entries()) == []
    assert bench.kept[-1].record("export").action == "failed"
    stage.work = None
    assert actions(bench.build([stage])) == {"export": "built"}


def test_a_step_that_is_not_cacheable_runs_every_time_and_later_steps_read_its_files(bench: Bench) -> None:
    measure = FakeStage("measure", needs=("engine",), makes=("times",), cacheable=False)
    stages = [*pipeline(), measure, FakeStage("page", needs=("times",), makes=("page",))]
    for _ in range(2):
        outcome = bench.build(stages, REQUEST)
        assert outcome.record("measure").action == "built"
        assert outcome.record("measure").reason == "runs every time"
    assert measure.ran == 2
    assert outcome.record("page").action == "hit"
    assert [entry.key.stage for entry in bench.store.entries() if entry.key.stage == "measure"] == []
    assert list((bench.store.path / "tmp").iterdir()) == []


def test_the_files_of_one_artifact_are_in_one_directory_under_their_names(bench: Bench) -> None:
    def export(context: RunContext) -> StageResult:
        graph, data = context.workdir / "model.onnx", context.workdir / "model.onnx.data"
        graph.write_text("see model.onnx.data")
        data.write_text("weights")
        return StageResult({"graph": [graph, data]})

    def read(context: RunContext) -> StageResult:
        graph = context.inputs["graph"]
        assert graph.path.name == "model.onnx"
        return reader.write(context, (graph.path.parent / "model.onnx.data").read_text())

    reader = FakeStage("read", needs=("graph",), makes=("text",), work=read)
    outcome = bench.build([FakeStage("export", makes=("graph",), work=export), reader])
    assert outcome.record("read").outputs["text"].path.read_text() == "text\nweights"


def test_a_stage_reports_under_its_own_label(bench: Bench) -> None:
    def work(context: RunContext) -> StageResult:
        context.emit("progress", done=1, total=2)
        context.emit("warning", message="mind")
        return stage.write(context, "x")

    stage = FakeStage("engine", label="engine sm_89", makes=("engine",), work=work)
    bench.build([stage])
    kinds = ["planned", "started", "progress", "warning", "finished"]
    assert [(e.kind, e.step) for e in bench.seen] == [(kind, "engine sm_89") for kind in kinds]
    assert bench.seen[2].facts == {"done": 1, "total": 2}


def test_a_wait_for_another_builder_is_reported_and_ends_with_a_hit(bench: Bench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(context: RunContext) -> StageResult:
        begun.set()
        assert go_on.wait(60)
        return builder.write(context, "x")

    builder = FakeStage("export", makes=("graph",), work=slow)
    waiter = FakeStage("export", makes=("graph",))
    first = in_thread(lambda: bench.build([builder]))
    assert begun.wait(60)
    second = Bench(Store(bench.store.path))
    thread = in_thread(lambda: second.build([waiter]))
    while "waiting" not in second.kinds("export"):
        assert thread.is_alive()
        thread.join(0.01)
    go_on.set()
    first.join()
    thread.join()
    (waiting,) = (event for event in second.seen if event.kind == "waiting")
    assert waiting.facts == {"holder": f"process {os.getpid()} on {platform.node()}"}
    assert second.kept[-1].record("export").reason == "built by another process meanwhile"
    assert second.kept[-1].record("export").action == "hit"
    assert waiter.ran == 0


def test_a_step_receives_the_metrics_of_the_steps_that_made_its_inputs(bench: Bench) -> None:
    stages = pipeline()
    found = []

    def work(context: RunContext) -> StageResult:
        found.append({slot: dict(metrics) for slot, metrics in context.metrics.items()})
        return stages[1].write(context, "simple")

    stages[0].work = lambda context: stages[0].write(context, "graph", nodes=12)
    stages[1].work = work
    bench.build(stages, REQUEST)
    bench.build(stages, {**REQUEST, "rounds": 4})
    assert found == [{"graph": {"nodes": 12}}] * 2, "of a step that was built, and of one that is stored"
