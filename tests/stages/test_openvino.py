"""The steps that make and verify an OpenVINO IR: versions, precisions, planted faults, and what other machines get."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosybuild.backends.openvino.requirements import lacking_instructions
from cosybuild.building.stage import RunContext
from cosybuild.config.groups.openvino import OvPrecision, OvSettings
from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.trt import Unmet
from cosybuild.config.groups.verify import SolverCheck
from cosybuild.errors import OpenVinoError, VerificationError
from cosybuild.manifest import read_manifest
from cosybuild.numerics.gates import ENGINE, OPENVINO_MIXED
from cosybuild.request import Request
from cosybuild.stages.openvino import OpenVinoStage, expand_openvino_stages, ir_name
from cosybuild.stages.pipeline import stages_for
from cosybuild.stages.verify_openvino import (
    VerifyOpenVinoStage,
    expand_verify_openvino_stages,
    openvino_gate,
    solver_bounds,
)
from cosybuild.store.artifact import Artifact
from cosybuild.store.result import StageResult
from cosybuild.system.environment import Environment
from tests.stages.building import TINY, Bench, artifact, graph_of, tiny

KEPT = ("arithmetic", "phases")
OPTIONS = {"fp32": (), "bf16": KEPT, "fp16": ("phases",)}
"""Precision -> the operators that its option keeps in float32."""


@dataclass
class Built:
    """A graph of a tiny model, with its reference."""

    request: Request
    graph: Artifact
    reference: Artifact

    def asking(self, precision: str = "fp32", **ov: Any) -> Request:
        chosen = OvSettings(**{"precision": OvPrecision(precision), "keep_fp32": OPTIONS[precision], **ov})
        return replace(self.request, settings=replace(self.request.settings, ov=chosen))

    def ir(self, request: Request, directory: Path, events: list[Any] | None = None) -> StageResult:
        return run(OpenVinoStage(), request, directory, events, graph=self.graph)

    def verify(self, request: Request, ir: Artifact, directory: Path) -> StageResult:
        return run(VerifyOpenVinoStage(), request, directory, None, openvino=ir, reference=self.reference)


def run(stage: Any, request: Request, directory: Path, events: list[Any] | None, **inputs: Artifact) -> StageResult:
    workdir = directory / stage.name
    workdir.mkdir(parents=True)
    kept = [] if events is None else events
    context = RunContext(request, inputs, workdir, lambda kind, **facts: kept.append((kind, facts)))
    result: StageResult = stage.run(context)
    assert {p.name for paths in result.outputs.values() for p in paths} == {p.name for p in workdir.iterdir()}
    return result


def made(result: StageResult) -> Artifact:
    return artifact("openvino", list(result.outputs["openvino"]))


@pytest.fixture(scope="module", params=TINY)
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built("cosyvoice2", tmp_path_factory.mktemp("second"))


def built(family: str, directory: Path) -> Built:
    pytest.importorskip("openvino")
    bench = Bench(tiny(family), directory)
    graph = graph_of(bench.simplify(graph_of(bench.export())))
    return Built(bench.asked, graph, artifact("reference", bench.reference(graph).outputs["reference"]))


def skip_where_it_cannot_run(precision: str) -> None:
    if lacking_instructions(precision, Environment()) is not None:
        pytest.skip(f"this processor cannot compute in {precision}")


@pytest.mark.parametrize("precision", OPTIONS)
def test_every_version_and_precision_passes_its_gates_by_execution(each: Built, precision: str, tmp_path: Path) -> None:
    skip_where_it_cannot_run(precision)
    request = each.asking(precision)
    result = each.ir(request, tmp_path)
    assert result.metrics["unmet"] == []
    metrics = each.verify(request, made(result), tmp_path).metrics
    assert "openvino" in metrics["device"]
    assert {case["sizes"]["seq_len"] for case in metrics["cases"]} >= {4, 24, 64}
    assert metrics["worst"]["snr_db"] >= openvino_gate(request)["snr_db"]
    assert metrics["solver"]
    assert all(run["missed"] == [] for run in metrics["solver"])
    (hop,) = metrics["hops"]
    assert hop["hop"] == "openvino"
    tried = {finding["property"] for finding in metrics["contract"]["properties"]}
    assert {"axes", "finite", "independent_rows", "masked_frames"} <= tried


def test_the_manifest_states_what_a_runtime_needs(second: Built, tmp_path: Path) -> None:
    request = second.asking()
    ir, weights, sidecar = second.ir(request, tmp_path).outputs["openvino"]
    assert (ir.name, weights.name) == (ir_name(request), ir.with_suffix(".bin").name)
    assert sidecar.name == f"{ir.name}.manifest.json"
    manifest = read_manifest(ir)
    assert manifest is not None
    assert [fact["name"] for fact in manifest["companions"]] == [weights.name]
    assert manifest["openvino"]["precision"] == "fp32"
    assert manifest["openvino"]["executed"]["products"].keys() == {"f32"}
    assert manifest["profiles"] == [{"seq_len": [4, 24, 64]}]
    assert manifest["built_from"]["onnx_sha256"] == second.graph.digest
    assert [port["name"] for port in manifest["interface"]["inputs"]] == ["x", "mask", "mu", "t", "spks", "cond"]


def test_one_wrong_weight_is_found_by_execution(second: Built, tmp_path: Path) -> None:
    request = second.asking()
    ir = made(second.ir(request, tmp_path))
    weights = ir.path.with_suffix(".bin")
    values = np.frombuffer(weights.read_bytes(), np.float32).copy()
    large = int(np.argmax(np.where(np.isfinite(values) & (np.abs(values) < 10), np.abs(values), 0)))
    values[large] *= -3
    weights.write_bytes(values.tobytes())
    with pytest.raises(VerificationError, match=r"openvino .* profile 0: estimator_out has snr_db"):
        second.verify(request, ir, tmp_path)


def test_plain_bfloat16_does_not_pass_the_gate_of_the_option(second: Built, tmp_path: Path) -> None:
    """Without its kept operators, the phase of the time embedding is wrong, and the gate finds it."""
    skip_where_it_cannot_run("bf16")
    plain = second.asking("bf16", keep_fp32=())
    assert openvino_gate(plain) == ENGINE[Target.bf16]
    ir = made(second.ir(plain, tmp_path))
    with pytest.raises(VerificationError) as caught:
        second.verify(second.asking("bf16"), ir, tmp_path)
    assert "ov.keep_fp32=[arithmetic" in (caught.value.hint or "")


def test_an_unmet_setting_fails_or_warns(second: Built, tmp_path: Path) -> None:
    """OpenVINO computes products whose operators have the attribute in half precision if their weights are."""
    skip_where_it_cannot_run("bf16")
    asked = {"keep_fp32": (*KEPT, "MatMul")}
    with pytest.raises(OpenVinoError, match=r"The IR does not meet its settings: .*to_qkv/MatMul"):
        second.ir(second.asking("bf16", **asked), tmp_path / "fails")
    events: list[Any] = []
    second.ir(second.asking("bf16", **asked, on_unmet=Unmet.warn), tmp_path / "warns", events)
    assert [kind for kind, _ in events].count("warning") >= 1


def test_the_gate_follows_the_kept_operators_and_the_stated_ratio(second: Built) -> None:
    assert openvino_gate(second.asking("bf16")) == OPENVINO_MIXED
    assert openvino_gate(second.asking("fp16")) == ENGINE[Target.fp16]
    assert openvino_gate(second.asking("bf16", snr_db=30.0))["snr_db"] == 30.0
    mixed, plain = (solver_bounds(second.asking("bf16", keep_fp32=keep)) for keep in (KEPT, ()))
    assert mixed is not None
    assert plain is not None
    assert mixed.gate["snr_db"] > plain.gate["snr_db"]
    verify = second.request.settings.verify
    assert verify is not None
    stated = replace(verify, solver=SolverCheck(lowered={"snr_db": 10.0}))
    request = second.asking("bf16")
    bounds = solver_bounds(replace(request, settings=replace(request.settings, verify=stated)))
    assert bounds is not None
    assert bounds.gate == {"snr_db": 10.0}


def test_steps_are_planned_only_where_they_are_asked_for(second: Built) -> None:
    request = second.asking("bf16")
    assert [stage.label for stage in stages_for(request)][-2:] == ["openvino", "verify openvino"]
    assert expand_openvino_stages(second.request) == ()
    unverified = replace(request, settings=replace(request.settings, verify=None))
    assert expand_verify_openvino_stages(unverified) == ()
    assert len(expand_openvino_stages(unverified)) == 1


def test_a_processor_without_bfloat16_leaves_both_steps_pending(second: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    old = Environment({"openvino": "2026.4.1"}, (), frozenset(["avx2", "avx512f"]))
    for stage in (OpenVinoStage(), VerifyOpenVinoStage()):
        (lack,) = stage.missing(second.asking("bf16"), old)
        assert "a processor with avx512_bf16 or amx_bf16 for bf16" in lack
        assert "ov=fp32 runs here" in lack
        assert stage.missing(second.asking("fp32"), old) == ()
        assert stage.missing(second.asking("fp32"), Environment({"openvino": None}, (), frozenset())) != ()


def test_keys_depend_on_the_release_and_the_instruction_sets(second: Built) -> None:
    one, two = (Environment({"openvino": "2026.4.1"}, (), frozenset(f)) for f in (["avx2"], ["avx2", "amx_bf16"]))
    for stage in (OpenVinoStage(), VerifyOpenVinoStage()):
        assert stage.environment(one) != stage.environment(two)
        assert stage.environment(one)["openvino"] == "2026.4.1"
    plain, strict = second.asking("bf16"), second.asking("bf16", snr_db=40.0)
    assert OpenVinoStage().settings(plain) == OpenVinoStage().settings(strict), "a gate does not change the IR"
    assert VerifyOpenVinoStage().settings(plain) != VerifyOpenVinoStage().settings(strict)
