"""The files of a run directory: artifacts with manifests, evidence beside them, nothing of an earlier run."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.building.part import PartStage
from cosybuild.building.record import Outcome
from cosybuild.building.stage import RunContext
from cosybuild.errors import BuildError
from cosybuild.manifest import read_manifest
from cosybuild.run.deliver import Delivered, deliver, delivered_slots
from cosybuild.store.result import StageResult
from cosybuild.system.typed_json import to_json
from tests.building.fakes import Bench, FakeStage, pipeline

REQUEST = {"opset": 18}
ORIGIN = {"cosybuild": "0", "config_digest": "c" * 64}


def delivered(bench: Bench, run: Path, stages: list[FakeStage]) -> tuple[Outcome, list[Delivered]]:
    outcome, plan = bench.build(stages, REQUEST), bench.plan(stages, REQUEST)
    return outcome, deliver(bench.store, plan, outcome, run, lambda _: ORIGIN)


def stages() -> list[FakeStage]:
    declared = pipeline(engine={"deterministic": False}, verify={"makes": ("verification",)})
    engine = declared[3]
    engine.work = lambda context: engine.write(context, "tuned", traits={"layers": 7})
    return declared


def test_artifacts_and_evidence_are_in_separate_directories_and_only_artifacts_are_listed(
    bench: Bench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcome, entries = delivered(bench, run, stages())
    assert sorted(path.relative_to(run).as_posix() for path in run.rglob("*.*")) == [
        "artifacts/engine.txt",
        "artifacts/engine.txt.manifest.json",
        "artifacts/graph.txt",
        "artifacts/graph.txt.manifest.json",
        "evidence/verification.txt",
    ]
    graph, engine = entries
    made = outcome.record("simplify").outputs["graph"]
    assert to_json(graph) == {
        "slot": "graph",
        "name": "graph.txt",
        "path": "artifacts/graph.txt",
        "digest": made.digest,
        "size": made.size,
        "made_by": "simplify",
        "deterministic": True,
        "traits": {},
        "files": {"graph.txt": made.digest},
        "verified_by": ["verify"],
        "part": "",
    }
    assert (engine.made_by, engine.deterministic, engine.traits) == ("engine", False, {"layers": 7})


def test_the_last_step_that_fills_a_slot_delivers_it(bench: Bench, tmp_path: Path) -> None:
    outcome, _ = delivered(bench, tmp_path / "run", stages())
    (final,) = (one for one in delivered_slots(outcome) if one.slot == "graph")
    artifact = final.artifact
    assert (final.label, artifact) == ("simplify", outcome.record("simplify").outputs["graph"])
    assert (tmp_path / "run/artifacts/graph.txt").read_bytes() == artifact.path.read_bytes()


def test_the_manifest_states_the_run_the_step_and_the_content(bench: Bench, tmp_path: Path) -> None:
    outcome, _ = delivered(bench, tmp_path / "run", stages())
    manifest = read_manifest(tmp_path / "run/artifacts/graph.txt")
    assert manifest is not None
    assert manifest["file"]["sha256"] == outcome.record("simplify").outputs["graph"].digest
    assert (manifest["slot"], manifest["made_by"], manifest["config_digest"]) == ("graph", "simplify", "c" * 64)
    assert manifest["verified_by"] == ["verify"]
    assert manifest["verified"] is True


def test_files_of_an_earlier_run_are_removed(bench: Bench, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("artifacts/old.onnx", "artifacts/old.onnx.manifest.json", "evidence/old.json"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("old")
    (run / "report.json").write_text("{}")
    delivered(bench, run, stages())
    assert not list(run.rglob("old*"))
    assert (run / "report.json").exists()


def failing(label: str) -> list[FakeStage]:
    declared = stages()

    def fail(context: RunContext) -> StageResult:
        raise BuildError("it does not work")

    next(stage for stage in declared if stage.name == label).work = fail
    return declared


@pytest.mark.parametrize(("label", "files"), [
    ("verify", []),
    ("engine", ["artifacts/graph.txt", "artifacts/graph.txt.manifest.json", "evidence/verification.txt"]),
])  # fmt: skip
def test_a_failed_run_delivers_what_was_verified_and_nothing_else(
    label: str, files: list[str], bench: Bench, tmp_path: Path
) -> None:
    declared, run = failing(label), tmp_path / "run"
    outcome = bench.build(declared, REQUEST)
    assert outcome.failure is not None
    deliver(bench.store, bench.plan(declared, REQUEST), outcome, run, lambda _: ORIGIN)
    assert sorted(path.relative_to(run).as_posix() for path in run.rglob("*.*")) == files


def test_parts_of_a_joint_build_do_not_overwrite_each_others_files(bench: Bench, tmp_path: Path) -> None:
    """The stages of all parts use the same names for evidence and for the result of a search."""
    made = ("verification", "precision")
    joint = [PartStage(part, FakeStage("verify", makes=made, reads=(part,)), {part: 1}) for part in ("one", "other")]
    plan, outcome = bench.plan(joint), bench.build(joint)
    run = tmp_path / "run"
    entries = deliver(bench.store, plan, outcome, run, lambda part: {**ORIGIN, "model": {"name": part}})
    assert sorted(path.relative_to(run).as_posix() for path in run.rglob("*.txt")) == [
        "artifacts/one.precision.txt",
        "artifacts/other.precision.txt",
        "evidence/one.verification.txt",
        "evidence/other.verification.txt",
    ]
    assert [(entry.part, entry.name, list(entry.files)) for entry in entries] == [
        ("one", "one.precision.txt", ["one.precision.txt"]),
        ("other", "other.precision.txt", ["other.precision.txt"]),
    ]
    manifest = read_manifest(run / "artifacts/other.precision.txt")
    assert manifest is not None
    assert (manifest["part"], manifest["model"], manifest["file"]["name"]) == (
        "other", {"name": "other"}, "other.precision.txt",
    )  # fmt: skip
