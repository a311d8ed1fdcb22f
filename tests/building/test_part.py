"""The parts of a joint build have their own slots and sources, and the keys of a build of the part alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.building.part import PartStage
from cosybuild.building.stage import RunContext
from cosybuild.building.wiring import SOURCE, PlanError, wire
from cosybuild.store.result import StageResult
from tests.building.fakes import Bench, FakeStage, actions, complete, pipeline

ONE, OTHER = {"opset": 18, "profile": "a"}, {"opset": 17, "profile": "b"}


def joint(**changes: dict[str, object]) -> list[PartStage]:
    return [
        PartStage(part, stage, request)
        for part, request in (("one", ONE), ("other", OTHER))
        for stage in pipeline(**changes)
    ]


def test_each_part_sees_its_own_slots_and_sources() -> None:
    wires = wire(joint(), ["one.weights", "other.weights"])
    assert [(w.slot, w.origin, w.producer) for w in wires[0]] == [("weights", "one.weights", SOURCE)]
    assert [(w.slot, w.origin, w.producer) for w in wires[4]] == [("weights", "other.weights", SOURCE)]
    assert [w.producer for w in wires[5]] == ["other export"]
    assert [w.producer for w in wires[6]] == ["other simplify"]


def test_a_need_may_name_a_step_of_the_same_part() -> None:
    stages = joint(verify={"needs": ("graph", "graph@export", "weights@source?")})
    wires = wire(stages, ["other.weights"])
    assert [(w.slot, w.producer) for w in wires[2]] == [("graph", "one simplify"), ("graph@export", "one export")]
    assert [(w.slot, w.origin, w.producer) for w in wires[6]] == [
        ("graph", "graph", "other simplify"),
        ("graph@export", "graph", "other export"),
        ("weights@source", "other.weights", SOURCE),
    ]


def test_a_step_of_the_whole_build_sees_the_slots_of_every_part() -> None:
    last = FakeStage("verify voice", needs=("one.engine", "other.graph"), makes=("verification",))
    wires = wire([*joint(), last], [])
    assert [(w.slot, w.origin, w.producer) for w in wires[-1]] == [
        ("one.engine", "engine", "one engine"),
        ("other.graph", "graph", "other simplify"),
    ]
    with pytest.raises(PlanError, match="needs 'graph'"):
        wire([*joint(), FakeStage("mixed", needs=("graph",))], [])


def test_steps_have_the_part_in_their_label_and_record(bench: Bench) -> None:
    outcome = bench.build(joint())
    assert complete(outcome)
    assert [record.label for record in outcome.records][:2] == ["one export", "one simplify"]
    assert [record.part for record in outcome.records] == ["one"] * 4 + ["other"] * 4
    assert {record.stage for record in outcome.records} == {"export", "simplify", "verify", "engine"}


def test_what_was_built_alone_is_not_built_again_jointly_and_the_reverse(bench: Bench) -> None:
    bench.build(pipeline(), ONE)
    jointly = actions(bench.build(joint()))
    assert {label: done for label, done in jointly.items() if label.startswith("one")} == dict.fromkeys(
        ("one export", "one simplify", "one verify", "one engine"), "hit"
    )
    assert set(jointly.values()) == {"hit", "built"}
    assert set(actions(bench.build(pipeline(), OTHER)).values()) == {"hit"}


def test_a_step_receives_the_request_and_the_digests_of_its_part(bench: Bench, tmp_path: Path) -> None:
    for part in ("one", "other"):
        path = tmp_path / f"{part}.pt"
        path.write_text(part)
        bench.sources[f"{part}.weights"] = bench.store.source("weights", path)
    seen = {}

    def look(stage: FakeStage, context: RunContext) -> StageResult:
        seen[context.inputs["weights"].path.read_text()] = (context.request, dict(context.sources))
        return stage.write(context, str(len(seen)))

    stages = joint()
    for stage in (stages[0]._stage, stages[4]._stage):
        stage.work = lambda context, stage=stage: look(stage, context)  # type: ignore[attr-defined]
    assert complete(bench.build(stages))  # type: ignore[arg-type]  # stages of one kind
    assert seen == {
        part: (request, {"weights": bench.sources[f"{part}.weights"].digest})
        for part, request in (("one", ONE), ("other", OTHER))
    }


def test_a_blocked_part_does_not_stop_the_others(bench: Bench) -> None:
    stages = joint()
    stages[0]._stage.lacks = ("an exporter",)  # type: ignore[attr-defined]
    done = actions(bench.build(stages))  # type: ignore[arg-type]
    assert [done[f"one {name}"] for name in ("export", "simplify")] == ["blocked", "blocked"]
    assert {done[f"other {name}"] for name in ("export", "simplify", "verify", "engine")} == {"built"}
