"""Planning: each verdict has its reason, and planning runs and writes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cosybuild.building.plan import key_of
from cosybuild.building.status import Blocked, Hit, Stale, Unknown
from cosybuild.building.wiring import SOURCE, PlanError, wire
from cosybuild.store.result import StageResult
from cosybuild.store.store import Store
from cosybuild.system.environment import Environment
from tests.building.fakes import Bench, FakeStage, pipeline, verdicts

REQUEST = {"opset": 18, "rounds": 3, "rtol": 1e-4, "profile": "default", "log_level": "info"}


def everything_under(path: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(path.rglob("*"))}


def test_the_first_plan_has_no_results_and_every_step_is_reported(bench: Bench) -> None:
    plan = bench.plan(pipeline(), REQUEST)
    assert verdicts(plan) == {
        "export": "stale: never built",
        "simplify": "unknown: waits for the content of graph",
        "verify": "unknown: waits for the content of graph",
        "engine": "unknown: waits for the content of lowered",
    }
    assert [step.expected for step in plan.steps] == [None] * 4
    assert plan.expected_seconds is None
    assert not plan.up_to_date


def test_a_result_of_another_network_gives_no_reasons(bench: Bench) -> None:
    export = FakeStage("export", makes=("graph",), reads=("opset", "width", "heads", "rates", "kernels"))
    bench.build([export], {"opset": 18, "width": 80, "heads": 8})
    assert verdicts(bench.plan([export], {"opset": 18, "rates": 3, "kernels": 7})) == {"export": "stale: never built"}
    assert verdicts(bench.plan([export], {"opset": 17, "width": 80, "heads": 8})) == {
        "export": "stale: settings.opset: 18 -> 17"
    }


def test_planning_runs_nothing_and_writes_nothing(bench: Bench, tmp_path: Path) -> None:
    stages = pipeline()
    assert everything_under(tmp_path) == {}
    bench.plan(stages, REQUEST)
    assert everything_under(tmp_path) == {}
    bench.build(stages, REQUEST)
    before = everything_under(tmp_path)
    bench.plan(stages, {**REQUEST, "opset": 17})
    bench.plan(stages, REQUEST)
    assert everything_under(tmp_path) == before
    assert [stage.ran for stage in stages] == [1, 1, 1, 1]


def test_after_a_build_all_steps_are_hits_with_their_entries(bench: Bench) -> None:
    outcome = bench.build(pipeline(), REQUEST)
    plan = bench.plan(pipeline(), REQUEST)
    assert plan.up_to_date
    assert plan.expected_seconds == 0
    assert [step.status for step in plan.steps] == [Hit()] * 4
    for step in plan.steps:
        assert step.entry is not None
        assert step.entry.outputs == outcome.record(step.label).outputs
        assert step.key == outcome.record(step.label).key


def test_a_waiting_step_has_no_key_and_is_not_found_under_an_incomplete_key(bench: Bench, tmp_path: Path) -> None:
    stages = pipeline(simplify={"needs": ("graph?",)})
    half = key_of(stages[1], REQUEST, bench.environment, {})
    path = tmp_path / "graph.onnx"
    path.write_text("of no input")
    with bench.store.building(half):
        bench.store.publish(half, StageResult({"graph": [path]}), {})
    plan = bench.plan(stages, REQUEST)
    assert [step.key is None for step in plan.steps] == [False, True, True, True]
    assert plan.step("simplify").status == Unknown(("graph",))


def test_only_steps_that_would_run_have_an_expected_time(bench: Bench) -> None:
    bench.build(pipeline(), REQUEST)
    plan = bench.plan(pipeline(engine={"lacks": ("a GPU",)}), {**REQUEST, "profile": "long"})
    assert [step.expected is None for step in plan.steps] == [True, True, False, True]


def test_the_stage_names_what_the_machine_lacks_for_the_request(bench: Bench) -> None:
    class Picky(FakeStage):
        def missing(self, request: Mapping[str, Any], environment: Environment) -> tuple[str, ...]:
            return (f"{request['wants']} beside exporter {environment.version('exporter')}",)

    status = bench.plan([Picky("engine")], {"wants": "a GPU"}).step("engine").status
    assert status == Blocked(("a GPU beside exporter 1.0",))


def test_the_error_names_a_step_that_does_not_exist(bench: Bench) -> None:
    with pytest.raises(KeyError, match="deploy"):
        bench.plan(pipeline(), REQUEST).step("deploy")


def test_inputs_name_the_step_that_makes_them(bench: Bench) -> None:
    plan = bench.plan(pipeline(), REQUEST)
    assert [step.inputs for step in plan.steps] == [
        {},
        {"graph": "export"},
        {"graph": "simplify"},
        {"lowered": "simplify"},
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"opset": 17}, {"export": "stale: settings.opset: 18 -> 17", "simplify": "unknown", "verify": "unknown"}),
        ({"rounds": 4}, {"export": "hit", "simplify": "stale: settings.rounds: 3 -> 4", "engine": "unknown"}),
        ({"rtol": 1.0}, {"simplify": "hit", "verify": "stale: settings.rtol: 0.0001 -> 1.0", "engine": "hit"}),
        (
            {"profile": "long"},
            {
                "simplify": "hit",
                "verify": 'stale: settings.profile: "default" -> "long"',
                "engine": 'stale: settings.profile: "default" -> "long"',
            },
        ),
        ({"log_level": "debug"}, dict.fromkeys(["export", "simplify", "verify", "engine"], "hit")),
    ],
)
def test_a_change_of_settings_affects_only_the_steps_that_read_them(
    bench: Bench, change: dict[str, object], expected: dict[str, str]
) -> None:
    bench.build(pipeline(), REQUEST)
    found = verdicts(bench.plan(pipeline(), {**REQUEST, **change}))
    for label, verdict in expected.items():
        assert found[label].startswith(verdict), (label, found[label])


def test_the_reason_names_a_changed_version_environment_or_source(bench: Bench, tmp_path: Path) -> None:
    weights = tmp_path / "flow.pt"
    weights.write_text("one")
    bench.sources = {"weights": bench.store.source("weights", weights)}
    bench.build(pipeline(), REQUEST)
    assert verdicts(bench.plan(pipeline(export={"version": 2}), REQUEST))["export"] == "stale: stage.version: 1 -> 2"
    versions: dict[str, str | None] = {"exporter": "1.1", "simplifier": "2.0"}
    bench.environment = replace(bench.environment, versions=versions)
    assert verdicts(bench.plan(pipeline(), REQUEST))["export"] == "stale: environment.exporter: 1.0 -> 1.1"
    bench.environment = replace(bench.environment, versions={**versions, "exporter": "1.0"})
    weights.write_text("two")
    old, bench.sources = bench.sources, {"weights": bench.store.source("weights", weights)}
    change = f"{old['weights'].digest[:12]} -> {bench.sources['weights'].digest[:12]}"
    assert verdicts(bench.plan(pipeline(), REQUEST))["export"] == f"stale: input.weights: {change}"
    bench.sources = {}
    assert "-> (absent)" in verdicts(bench.plan(pipeline(), REQUEST))["export"]


def test_a_source_under_another_name_or_place_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    for name in ("flow.pt", "other directory/weights é.pt"):
        weights = tmp_path / name
        weights.parent.mkdir(exist_ok=True)
        weights.write_text("the same")
        bench.sources = {"weights": bench.store.source("weights", weights)}
        bench.build(pipeline(), REQUEST)
    assert {r.action for r in bench.kept[-1].records} == {"hit"}


def test_a_missing_requirement_blocks_the_step_and_those_that_depend_on_it(bench: Bench) -> None:
    stages = [*pipeline(simplify={"lacks": ("a GPU of sm_90", "tensorrt")}), FakeStage("deploy", needs=("engine?",))]
    plan = bench.plan(stages, REQUEST)
    assert verdicts(plan) == {
        "export": "stale: never built",
        "simplify": "blocked: needs a GPU of sm_90; tensorrt",
        "verify": "blocked: needs graph from 'simplify', which is blocked",
        "engine": "blocked: needs graph from 'simplify', which is blocked",
        "deploy": "blocked: needs engine from 'engine', which is blocked",
    }


def test_a_hit_has_no_requirements_of_the_machine(bench: Bench) -> None:
    bench.build(pipeline(), REQUEST)
    plan = bench.plan(pipeline(engine={"lacks": ("a GPU",)}), REQUEST)
    assert plan.step("engine").status == Hit()
    plan = bench.plan(pipeline(engine={"lacks": ("a GPU",)}), {**REQUEST, "profile": "long"})
    assert plan.step("engine").status == Blocked(("a GPU",))


def test_a_step_that_always_runs_is_reported_and_later_steps_wait_for_it(bench: Bench) -> None:
    stages = [*pipeline(verify={"cacheable": False}), FakeStage("summary", needs=("evidence",), makes=("page",))]
    bench.build(stages, REQUEST)
    plan = bench.plan(stages, REQUEST)
    assert plan.step("verify").status == Stale(note="runs every time")
    assert plan.step("summary").status == Unknown(("evidence",))


def test_the_reason_names_a_damaged_result(bench: Bench) -> None:
    outcome = bench.build(pipeline(), REQUEST)
    path = outcome.record("engine").outputs["engine"].path
    path.chmod(0o600)
    path.write_text("x")
    store = Store(bench.store.path, warn=lambda message: None)
    bench.store = store
    assert verdicts(bench.plan(pipeline(), REQUEST))["engine"].startswith("stale: its stored result is damaged: ")


def test_the_reasons_compare_with_the_nearest_earlier_build(bench: Bench) -> None:
    for opset, rounds in ((17, 3), (20, 5)):
        bench.build(pipeline(), {**REQUEST, "opset": opset, "rounds": rounds})
    status = bench.plan(pipeline(), {**REQUEST, "opset": 18}).step("export").status
    assert isinstance(status, Stale)
    assert [reason.part for reason in status.reasons] == ["settings.opset"]


def test_a_slot_is_connected_to_the_latest_step_that_fills_it() -> None:
    stages = [
        FakeStage("import", needs=("graph",), makes=("graph",)),
        FakeStage("lower", needs=("graph",), makes=("lowered",)),
        FakeStage("engine", needs=("lowered|graph", "calibration?", "weights|graph?"), makes=("engine",)),
    ]
    wires = wire(stages, ["graph"])
    assert [[(w.slot, w.origin, w.producer) for w in step] for step in wires] == [
        [("graph", "graph", SOURCE)],
        [("graph", "graph", "import")],
        [("lowered", "lowered", "lower"), ("weights", "graph", "import")],
    ]


def test_a_slot_that_no_step_fills_is_a_defect() -> None:
    with pytest.raises(PlanError, match=r"'engine' needs 'lowered.graph'.*available: weights"):
        wire([FakeStage("engine", needs=("lowered|graph",))], ["weights"])
    made = [FakeStage("export", makes=("graph", "evidence")), FakeStage("engine", needs=("lowered",))]
    with pytest.raises(PlanError, match=r"\(available: evidence, graph, weights\)$"):
        wire(made, ["weights"])
    with pytest.raises(PlanError, match=r"\(available: nothing\)$"):
        wire(made[1:], [])


def test_two_steps_of_one_label_are_a_defect() -> None:
    with pytest.raises(PlanError, match="'engine'"):
        wire([FakeStage("engine"), FakeStage("engine")], [])


def test_a_part_of_the_environment_that_is_no_text_is_a_defect(bench: Bench) -> None:
    class Careless(FakeStage):
        def environment(self, environment: Environment) -> dict[str, str]:
            return {"sm": 89}  # type: ignore[dict-item]  # the defect under test

    with pytest.raises(AssertionError, match=r"'engine': environment\.sm is 89"):
        bench.plan([Careless("engine")])


def test_the_build_imports_nothing_heavy() -> None:
    """A new process imports every module of the build, the store and the system."""
    code = """
import pkgutil, importlib, sys
from cosybuild import building, store, system
for package in (building, store, system):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
heavy = {"torch", "onnx", "onnxruntime", "onnxsim", "tensorrt", "tensorrt_rtx", "hydra", "omegaconf", "yaml", "fsspec",
         "numpy", "rich"}
print(sorted(heavy & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_step_can_read_a_slot_as_an_earlier_step_filled_it() -> None:
    export, simplify = FakeStage("export", needs=(), makes=("graph",)), FakeStage("simplify", makes=("graph",))
    verify = FakeStage("verify", needs=("graph", "graph@export?", "graph@nobody?"), makes=("record",))
    _, _, wires = wire([export, simplify, verify], [])
    assert [(w.slot, w.origin, w.producer) for w in wires] == [
        ("graph", "graph", "simplify"),
        ("graph@export", "graph", "export"),
    ]
