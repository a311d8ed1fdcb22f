"""Lowered estimators pass their gates, also with weights at fp16's limit; faults fail and are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from cosybuild.backends.onnxruntime_backend import load
from cosybuild.config.groups.precision import InputOutput, PrecisionSettings, Target
from cosybuild.errors import VerificationError
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.gates import LOWERED
from cosybuild.precision.decide import Decisions
from cosybuild.precision.graph import prepare
from cosybuild.precision.lower import lower as lower_graph
from cosybuild.precision.storage import FP16
from cosybuild.request import Request
from cosybuild.stages.verify_lowered import VerifyLoweredStage
from cosybuild.verification.scope import lowered_cases_of
from tests.precision.estimators import FAMILIES, estimator, estimator_spec, export, exported
from tests.stages.building import tiny
from tests.stages.lowering import lower, request, verify

SPEC = estimator_spec()


@pytest.mark.parametrize("excess", [1.0, 300.0, 3e4])
@pytest.mark.parametrize("family", FAMILIES)
def test_fp16_passes_with_random_and_adversarial_weights(family: str, excess: float, tmp_path: Path) -> None:
    graph = exported(family, tmp_path / "graph.onnx", excess=excess)
    asked = request(SPEC, target=Target.fp16)
    result = lower(asked, graph, tmp_path / "lowered")
    record = verify(asked, graph, result.outputs["lowered"][0], tmp_path / "verified")
    assert record.metrics["worst"]["snr_db"] >= LOWERED[Target.fp16]["snr_db"]
    assert len(record.metrics["cases"]) >= 12
    assert {case["how"].partition(" ")[0] for case in record.metrics["cases"]} == {"as", "onnxruntime"}
    (hop,) = record.metrics["hops"]
    assert (hop["hop"], hop["against"], hop["missed"]) == ("lowered", "graph", [])
    reasons = [group["reason"] for group in result.metrics["kept_fp32"]]
    if excess >= 3e4:
        assert any("above data_max" in reason for reason in reasons)
    if excess == 1.0:
        assert result.metrics["flops_lowered"] == 1.0
    assert json.loads(record.outputs["lowered_verification"][0].read_text()) == record.metrics


@pytest.mark.parametrize("target", [Target.bf16, Target.mixed])
@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_and_mixed_pass_verification(family: str, target: Target, tmp_path: Path) -> None:
    graph = exported(family, tmp_path / "graph.onnx")
    asked = request(SPEC, target=target, io=InputOutput.keep)
    lowered = lower(asked, graph, tmp_path / "lowered").outputs["lowered"][0]
    record = verify(asked, graph, lowered, tmp_path / "verified").metrics
    runs = {case["how"].partition(" ")[0] for case in record["cases"]}
    assert runs == ({"as", "onnxruntime"} if target is Target.mixed else {"as"})
    assert ("note" in record) == (target is Target.bf16)


def all_lowered(graph: Path, path: Path) -> Path:
    """Return the graph in which no node is kept."""
    model = ir.load(str(graph))
    prepare(model, FP16)
    ir.save(lower_graph(model, Decisions(FP16, {}, True)).model, str(path))
    return path


def test_adversarial_weights_fail_without_the_rules(tmp_path: Path) -> None:
    graph = exported("cosyvoice2", tmp_path / "graph.onnx", excess=3e5)
    lowered = all_lowered(graph, tmp_path / "all.onnx")
    with pytest.raises(VerificationError, match=r"not finite, case .*the first is .* \(module .*elements") as caught:
        verify(request(SPEC, target=Target.fp16), graph, lowered, tmp_path / "verified")
    assert "precision.keep_fp32" in str(caught.value.hint)


def test_a_phase_in_fp16_misses_the_gate(tmp_path: Path) -> None:
    """In fp16 the time embedding has a phase of 1000 rad in steps of half a radian."""
    spec = ModelSpec((TensorSpec("t", ("n", 1), generator="time"),), (TensorSpec("y", ("n", 16)),))
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> g (float[n, 1] t) => (float[n, 16] y) '
        "{ p = Mul(t, c) a = Mul(p, f) y = Sin(a) }"
    )
    frequencies = np.exp(-np.log(10000) / 15 * np.arange(16)).astype(np.float32)
    for name, values in (("c", np.float32(1000)), ("f", frequencies)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    graph = tmp_path / "graph.onnx"
    onnx.save(model, str(graph))
    asked = request(spec, target=Target.fp16)
    with pytest.raises(VerificationError, match=r", as stored: y has snr_db .* at least 34 dB .* y\[.*\] is "):
        verify(asked, graph, all_lowered(graph, tmp_path / "all.onnx"), tmp_path / "failed")
    lowered = lower(asked, graph, tmp_path / "lowered").outputs["lowered"][0]
    assert verify(asked, graph, lowered, tmp_path / "verified").metrics["worst"]["snr_db"] > 60


PLANTED = '<ir_version: 9, opset_import: ["": 18]> g ({0}[1, n] x) => ({0}[1, n] y) {{ a = Mul(x, c) y = Mul(a, d) }}'


def planted(path: Path, kind: str, number: int) -> Path:
    model = onnx.parser.parse_model(PLANTED.format(kind))
    for node, name in zip(model.graph.node, ("/up/Mul", "/down/Mul"), strict=True):
        node.name = name
    model.graph.initializer.append(onnx.helper.make_tensor("c", number, [], [60000.0]))
    model.graph.initializer.append(onnx.helper.make_tensor("d", number, [], [1 / 32768]))
    onnx.save(model, str(path))
    return path


def test_an_overflow_that_onnx_runtime_hides_fails_verification(tmp_path: Path) -> None:
    spec = ModelSpec((TensorSpec("x", (1, "n")),), (TensorSpec("y", (1, "n")),))
    graph = planted(tmp_path / "graph.onnx", "float", onnx.TensorProto.FLOAT)
    lowered = planted(tmp_path / "lowered.onnx", "float16", onnx.TensorProto.FLOAT16)
    x = np.float16([[2, -3, 1]])
    assert np.isfinite(load(lowered).infer({"x": x})["y"]).all()
    with pytest.raises(VerificationError, match=r"the first is a, made by Mul /up/Mul \(module up\)"):
        verify(request(spec, target=Target.fp16), graph, lowered, tmp_path / "verified")


def test_cases_cover_the_profile_up_to_a_length_that_can_be_run() -> None:
    drawn = [case.draw for case in lowered_cases_of(request(SPEC, sizes=(4, 500, 3000)))]
    lengths = [draw.sizes["seq_len"] for draw in drawn]
    assert {4, 500} <= set(lengths)
    assert lengths == sorted(lengths)
    assert max(lengths) <= 1024
    assert {draw.time.value for draw in drawn} == {"start", "end", "any"}
    assert any(draw.padded for draw in drawn)
    assert any(draw.guidance for draw in drawn)
    assert all(draw.coarse for draw in drawn), "else a HALF interface would be given other inputs"


def test_the_gate_is_a_setting_and_part_of_the_key() -> None:
    stage = VerifyLoweredStage()
    base = stage.settings(request(SPEC, target=Target.fp16))
    strict = stage.settings(request(SPEC, target=Target.fp16, snr_db=60.0))
    assert base["gate"]["snr_db"] == LOWERED[Target.fp16]["snr_db"]
    assert strict["gate"] == {"snr_db": 60.0, "max_rel": pytest.approx(0.008)}
    assert stage.settings(request(SPEC, target=Target.fp16, data_max=1.0)) == base
    assert stage.settings(request(SPEC, target=Target.fp16, sizes=(4, 24, 61))) != base


def test_the_key_names_the_sizes_of_the_contract() -> None:
    def asked(most: int) -> Request:
        sizes = {"batch": (2, 2, most), "seq_len": (4, 24, 60)}
        built = tiny("cosyvoice2", sizes=sizes, dynamic_batch=True)
        return replace(built, settings=replace(built.settings, precision=PrecisionSettings(target=Target.fp16)))

    stage = VerifyLoweredStage()
    assert lowered_cases_of(asked(3)) == lowered_cases_of(asked(32))
    assert stage.settings(asked(3)) != stage.settings(asked(32)), "the contract is checked with a batch of 3, or of 32"
    assert "contract" not in stage.settings(request(SPEC, target=Target.fp16))


@pytest.mark.full_size
@pytest.mark.parametrize("excess", [1.0, 3e4])
@pytest.mark.parametrize("family", FAMILIES)
def test_full_size_fp16_passes(family: str, excess: float, tmp_path: Path) -> None:
    graph = export(estimator(family, full=True, excess=excess), tmp_path / "graph.onnx")
    asked = request(SPEC, target=Target.fp16, sizes=(4, 100, 300))
    result = lower(asked, graph, tmp_path / "lowered")
    verify(asked, graph, result.outputs["lowered"][0], tmp_path / "verified")
    assert bool(result.metrics["flops_lowered"] == 1.0) == (excess == 1.0)
