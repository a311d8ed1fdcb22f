"""ONNX Runtime inside the solver: golden mels match, and faults that only a whole run shows are caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, numpy_helper

from cosybuild.backends import onnxruntime_backend
from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.verify import HopGates, SolverCheck, SolverPoint
from cosybuild.errors import VerificationError
from cosybuild.models.cosyvoice.solver import solve
from cosybuild.models.subject import Solver
from cosybuild.numerics.gates import misses
from cosybuild.numerics.metrics import Kind, measure
from cosybuild.onnxgraph.files import load_model, save_model
from cosybuild.stages.reference import ReferenceStage
from cosybuild.store.artifact import Artifact
from cosybuild.verification.reference import read_reference
from cosybuild.verification.solver_comparison import bounds_of, compare_solver_runs
from tests.models.fixtures import INPUTS
from tests.runtime.tiny import golden_run
from tests.stages.building import STREAMING, TINY, Bench, artifact, graph_of, tiny

pytestmark = pytest.mark.arithmetic

GATES = SolverCheck().gates
Built = Callable[..., tuple[Artifact, Artifact]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return the exported and the simplified graph of a fixture, made once for all tests of this file."""
    made: dict[tuple[str, bool], tuple[Artifact, Artifact]] = {}

    def build(family: str, streaming: bool = False) -> tuple[Artifact, Artifact]:
        if (family, streaming) not in made:
            bench = Bench(tiny(family, streaming=streaming), tmp_path_factory.mktemp(family))
            exported = graph_of(bench.export())
            made[family, streaming] = exported, graph_of(bench.simplify(exported))
        return made[family, streaming]

    return build


@pytest.mark.parametrize("version", [1, 2, 3])
def test_onnx_runtime_gives_the_golden_mel_within_the_gate(version: int, built: Built) -> None:
    """The golden mel is the output of upstream's own code for the fixture, in ten guided steps."""
    solver = tiny(f"cosyvoice{version}").subject.solver
    assert solver is not None
    session = onnxruntime_backend.load(built(f"cosyvoice{version}")[1].path)

    def estimator(*tensors: torch.Tensor) -> torch.Tensor:
        named = zip(INPUTS, tensors, strict=True)
        return torch.from_numpy(session.infer({name: t.numpy() for name, t in named})["estimator_out"])

    (noise, mu, spks, cond), expected = golden_run(version)
    mel = solve(estimator, noise, mu, spks, cond, torch.ones(1, 1, noise.shape[2]), solver)
    expected.check(mel)
    assert misses(measure(mel.numpy(), expected.values, Kind.mel), GATES) == []


@pytest.mark.parametrize(("family", "streaming"), [*((f, False) for f in TINY), *((f, True) for f in STREAMING)])
def test_the_record_has_the_solver_runs_and_hops_of_the_tiny_models(
    family: str, streaming: bool, built: Built, tmp_path: Path
) -> None:
    exported, graph = built(family, streaming)
    asked = tiny(family, streaming=streaming, verify={"float64": True})
    metrics = Bench(asked, tmp_path).verify(graph, exported).metrics
    runs = {entry["run"]: entry for entry in metrics["solver"]}
    assert set(runs) == {"solver T=64 (short)"} | ({"solver T=10+8 (in chunks)"} if streaming else set())
    for entry in runs.values():
        assert len(entry["steps_snr_db"]) == 10
        assert all(float(ratio) >= SolverCheck().step_snr_db for ratio in entry["steps_snr_db"])
        assert (entry["left_at"], entry["missed"]) == (None, [])
        assert set(entry["mel"]) >= {"snr_db", "mean_abs", "max_abs", "lsd_db", "cosine"}
    assert [hop["hop"] for hop in metrics["hops"]] == ["torch", "export", "simplify"]
    assert [hop["against"] for hop in metrics["hops"]] == ["float64", "torch", "export"]
    assert not any(hop["missed"] for hop in metrics["hops"])
    if streaming:
        # Frames that were computed must not change when more audio arrives, except for rounding errors of the solver.
        assert runs["solver T=10+8 (in chunks)"]["seam"] <= GATES["max_abs"]
    json.dumps(metrics, allow_nan=False)


def test_a_long_utterance_passes_the_same_bound(built: Built, tmp_path: Path) -> None:
    """The utterance has twice the frames of the profile; the bound is the same."""
    solver = SolverCheck(points=(SolverPoint.opt, SolverPoint.max), lengths=(7,))
    asked = tiny("cosyvoice2", verify={"solver": solver}, sizes={"seq_len": (4, 100, 3000)})
    reference = artifact("reference", Bench(asked, tmp_path).reference().outputs["reference"])
    kept = read_reference(reference.path)
    assert [rollout.lengths for rollout in kept.rollouts] == [(7,), (100,), (3000,)]
    session = onnxruntime_backend.load(built("cosyvoice2")[1].path)
    bounds = bounds_of(asked, Target.fp32)
    runs = compare_solver_runs(session.infer, "", kept.rollouts, kept, bounds, asked, lambda kind, **facts: None)
    assert [entry["lengths"] for entry in runs] == [[7], [100], [3000]]


def spoiled(graph: Artifact, directory: Path, change: Callable[[ModelProto], None]) -> Artifact:
    directory.mkdir(parents=True, exist_ok=True)
    model = load_model(graph.path)
    change(model)
    return artifact("graph", save_model(model, directory / graph.path.name))


def scaled(factor: float) -> Callable[[ModelProto], None]:
    """Multiply the last projection's weights by `factor`, so that all steps have an error of the same sign."""

    def change(model: ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if "proj" in t.name and len(t.dims) >= 2)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))

    return change


LAX: dict[str, Any] = {"rtol": 0.5, "atol": 0.5, "snr_db": None, "hops": HopGates({}, {}, {}, {})}


def test_an_error_that_single_calls_pass_can_fail_the_solver(built: Built, tmp_path: Path) -> None:
    _, graph = built("cosyvoice2")
    bench = Bench(tiny("cosyvoice2", verify=LAX), tmp_path)
    with pytest.raises(
        VerificationError, match=r"Solver T=64 \(short\), .*misses its bound at step \d+ of 10: "
    ) as caught:
        bench.verify(spoiled(graph, tmp_path / "spoiled", scaled(1.01)))
    assert "the mel has snr_db" in str(caught.value)
    assert "verify.solver.gates has the bounds" in str(caught.value)
    kind, facts = bench.events[-1]
    assert kind == "note"
    assert facts["left_at"] >= 1
    assert len(facts["steps_snr_db"]) == 10


def test_a_wrong_schedule_fails_verification(built: Built, tmp_path: Path) -> None:
    """The reference has another schedule, as if the artifact were run with the wrong one."""
    _, graph = built("cosyvoice2")
    asked = tiny("cosyvoice2")
    other = replace(asked, subject=replace(asked.subject, solver=Solver(schedule="linear")))
    assert ReferenceStage().settings(other) != ReferenceStage().settings(asked)
    reference = artifact("reference", Bench(other, tmp_path / "other").reference().outputs["reference"])
    with pytest.raises(VerificationError, match=r"misses its bound at step 1 of 10"):
        Bench(asked, tmp_path).verify(graph, reference=reference)


@pytest.mark.parametrize("hop", ["export", "simplify"])
def test_the_error_names_the_hop_with_the_fault(hop: str, built: Built, tmp_path: Path) -> None:
    exported, graph = built("cosyvoice2")
    broken = spoiled(graph, tmp_path / "simplified", scaled(1.01))
    if hop == "export":
        exported = spoiled(exported, tmp_path / "exported", scaled(1.01))
    with pytest.raises(VerificationError, match=rf"the hop with the fault is {hop} \(") as caught:
        Bench(tiny("cosyvoice2"), tmp_path).verify(broken, exported)
    assert "seq_len=" in str(caught.value)


def test_a_hop_has_a_gate_of_its_own(built: Built, tmp_path: Path) -> None:
    exported, graph = built("cosyvoice2")
    gates = HopGates(export={"max_abs": -1.0})  # no error passes this, not even zero
    with pytest.raises(VerificationError, match=r"max_abs .* at most -1 .*the hop with the fault is export"):
        Bench(tiny("cosyvoice2", verify={"hops": gates}), tmp_path).verify(graph, exported)


def test_the_reference_depends_on_the_model_and_the_cases_alone() -> None:
    stage = ReferenceStage()
    base = stage.settings(tiny("cosyvoice2"))
    for same in ({"rtol": 1e-3}, {"threads": 2}, {"snr_db": None}, {"hops": HopGates({}, {}, {}, {})}):
        assert stage.settings(tiny("cosyvoice2", verify=same)) == base
    assert stage.settings(tiny("cosyvoice2", opset=20)) == base
    for other in ({"seed": 1}, {"float64": True}, {"solver": None}, {"solver": SolverCheck(lengths=(9,))}):
        assert stage.settings(tiny("cosyvoice2", verify=other)) != base


def test_lengths_seen_in_service_are_compared(tmp_path: Path) -> None:
    lengths = tmp_path / "lengths.txt"
    lengths.write_text("33,5\n47,2\n1.2 s\n700\n", encoding="utf-8")
    from cosybuild.verification.scope import cases_of, coverage

    asked = tiny("cosyvoice2", verify={"lengths": str(lengths)})
    served = [case.draw.sizes["seq_len"] for case in cases_of(asked) if case.why == "seen in service"]
    assert served == [33, 47, 60]
    assert coverage(asked) == {"calls": 9, "served": 8, "outside": {"calls": 1, "shortest": 700, "longest": 700}}
