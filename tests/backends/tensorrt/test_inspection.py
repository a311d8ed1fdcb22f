"""Facts of a parsed network, and the verdicts derived from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from cosybuild.backends.tensorrt.builder import BuiltEngine, build_engine
from cosybuild.backends.tensorrt.builder_config import ShapeProfile
from cosybuild.backends.tensorrt.choice import Target
from cosybuild.backends.tensorrt.inspection import AttentionSize, NetworkFacts, TensorFact, Work
from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.backends.tensorrt.report import engine_report
from cosybuild.backends.tensorrt.verdicts import (
    FUSED,
    UNDECIDED,
    UNFUSED,
    check_tensors,
    judge_attention,
    unmet_fusion,
    unmet_precision,
)
from cosybuild.config.groups.trt import TrtSettings
from cosybuild.errors import EngineError
from cosybuild.models.spec import ModelSpec, TensorSpec
from tests.backends.tensorrt.graphs import CHANNELS, HEADS, SPEC, WIDTH, attention_graph, write

T = 500  # the profile's opt


def test_tensors_are_in_binding_order_and_of_the_graphs_type(fp16_engine: BuiltEngine) -> None:
    assert fp16_engine.facts.tensors == (
        TensorFact("x", "input", "HALF", (2, WIDTH, -1)),
        TensorFact("mask", "input", "HALF", (2, 1, -1)),
        TensorFact("y", "output", "HALF", (2, WIDTH, -1)),
    )


def test_arithmetic_is_counted_at_the_opt_shape(fp16_engine: BuiltEngine) -> None:
    found = {work.name: work.operations for work in fp16_engine.facts.work}
    assert found == {
        "/blocks.0/conv/Conv": 2 * 2 * WIDTH * WIDTH * 3 * T,
        "/blocks.0/attn/MatMul": 2 * 2 * HEADS * T * T * CHANNELS,
        "/blocks.0/attn/MatMul_1": 2 * 2 * HEADS * T * T * CHANNELS,
        "/blocks.0/out/MatMul": 2 * 2 * WIDTH * WIDTH * T,
    }
    assert fp16_engine.facts.share("HALF") == 1.0


def test_attention_is_measured_at_the_max_shape(fp16_engine: BuiltEngine) -> None:
    shape = (2, HEADS, 3000, 3000)
    assert fp16_engine.facts.attention == ((AttentionSize(shape, 2 * 2 * HEADS * 3000 * 3000, 1),),)
    assert fp16_engine.facts.largest_bytes == (2 * 2 * WIDTH * 3000,)


def test_shapes_are_dynamic_again_after_the_inspection(fp16_engine: BuiltEngine) -> None:
    assert all(-1 in tensor.shape for tensor in fp16_engine.facts.tensors)


def convolution(operator: str, path: Path, weight: tuple[int, ...], result: tuple[int, ...], **how: Any) -> Path:
    values = np.zeros(weight, np.float32)
    return write(
        path,
        [helper.make_node(operator, ["x", "w"], ["y"], name="/c", **how)],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 8, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        [helper.make_tensor("w", TensorProto.FLOAT, weight, values.flatten())],
    )


@pytest.mark.parametrize(("operator", "weight", "result", "how", "operations"), [
    ("Conv", (4, 8, 3), (2, 4, 8), {}, 2 * (2 * 4 * 8) * 8 * 3),
    ("Conv", (8, 2, 3), (2, 8, 8), {"group": 4}, 2 * (2 * 8 * 8) * 2 * 3),
    ("ConvTranspose", (8, 4, 4), (2, 4, 20), {"strides": [2], "pads": [1, 1]}, 2 * (2 * 8 * 10) * 4 * 4),
])  # fmt: skip
def test_convolutions_are_counted(
    rtx: TensorRtLibrary,
    tmp_path: Path,
    operator: str,
    weight: tuple[int, ...],
    result: tuple[int, ...],
    how: dict[str, Any],
    operations: int,
) -> None:
    graph = convolution(operator, tmp_path / "g.onnx", weight, result, **how)
    built = build_engine(rtx, graph, tmp_path / "e", TrtSettings(), precision="fp32", sm=89, profiles=[])
    assert [work.operations for work in built.facts.work] == [operations]


def test_a_fused_engine_meets_all_requirements(fp16_engine: BuiltEngine, rtx: TensorRtLibrary) -> None:
    report = engine_report(fp16_engine, Target("tensorrt_rtx", 89), rtx, TrtSettings(), "fp16", None)
    assert (report["unmet"], report["unfused"]) == ([], [])
    assert [verdict["verdict"] for verdict in report["attention"]] == [FUSED]
    assert report["arithmetic"]["share"] == {"HALF": 1.0}
    assert report["layers"]["source"] == "network"
    sources = {name: report[name]["source"] for name in ("activation_bytes", "weights_bytes", "peak_host_bytes")}
    assert sources == {
        "activation_bytes": "builder log",
        "weights_bytes": "builder log",
        "peak_host_bytes": "builder log, whole process",
    }


def test_attention_that_cannot_fuse_is_detected(rtx: TensorRtLibrary, shapes: ShapeProfile, tmp_path: Path) -> None:
    graph = attention_graph(tmp_path / "g.onnx", "float16", scores_used_twice=True)
    built = build_engine(rtx, graph, tmp_path / "e", TrtSettings(), precision="fp16", sm=89, profiles=[shapes])
    (line,) = engine_report(built, Target("tensorrt_rtx", 89), rtx, TrtSettings(), "fp16", None)["unfused"]
    assert line.startswith("attention is not fused: the engine needs ")
    assert line.endswith("; one attention matrix (2, 2, 3000, 3000) alone takes 72 MB")


def test_an_fp32_graph_that_is_called_fp16_is_detected(rtx: TensorRtLibrary, fp32_graph: Path, tmp_path: Path,
                                                        shapes: ShapeProfile) -> None:  # fmt: skip
    built = build_engine(rtx, fp32_graph, tmp_path / "e", TrtSettings(), precision="fp16", sm=89, profiles=[shapes])
    report = engine_report(built, Target("tensorrt_rtx", 89), rtx, TrtSettings(), "fp16", None)
    assert report["unmet"][0].startswith(
        "precision=fp16 is set, but 100% of the matrix arithmetic is in fp32 (allowed: 50%), most of it in "
        "/blocks.0/attn/MatMul"
    )
    assert len(report["fp32_work"]) == 4


def facts(operations: dict[str, int]) -> NetworkFacts:
    work = tuple(Work(f"/{dtype}", dtype, count) for dtype, count in operations.items())
    return NetworkFacts((), {}, work, (), ())


@pytest.mark.parametrize(("precision", "operations", "met"), [
    ("fp16", {"HALF": 60, "FLOAT": 40}, True),
    ("fp16", {"HALF": 50, "FLOAT": 50}, True),
    ("fp16", {"HALF": 49, "FLOAT": 51}, False),
    ("bf16", {"BF16": 10, "FLOAT": 90}, False),
    ("mixed", {"FLOAT": 1}, False),
    ("fp32", {"FLOAT": 1}, True),
    ("tf32", {"FLOAT": 1}, True),
    ("fp16", {}, True),
])  # fmt: skip
def test_the_allowed_share_of_fp32_decides_whether_the_precision_is_met(
    precision: str, operations: dict[str, int], met: bool
) -> None:
    assert (unmet_precision(facts(operations), precision, 0.5) is None) == met


MATRIX = AttentionSize((2, 8, 3000, 3000), 288_000_000, 56)


@pytest.mark.parametrize(("activation", "largest", "verdict"), [
    (287_999_999, 12_000_000, FUSED),
    (288_000_000, 12_000_000, UNFUSED),
    (288_000_000, 36_000_000, UNDECIDED),
    (100_000_000, 36_000_000, FUSED),
])  # fmt: skip
def test_fusion_is_judged_by_one_matrix(activation: int, largest: int, verdict: str) -> None:
    network = NetworkFacts((), {}, (), ((MATRIX,),), (largest,))
    (judged,) = judge_attention(network, [activation])
    assert judged.verdict == verdict
    assert (unmet_fusion([judged], "fp16") is None) == (verdict != UNFUSED)
    assert unmet_fusion([judged], "fp32") is None  # no kernel fuses in fp32, and no smaller type is requested


def network(*tensors: TensorFact) -> NetworkFacts:
    return NetworkFacts(tensors, {}, (), (), ())


X, MASK, Y = (
    TensorFact("x", "input", "HALF", (2, WIDTH, -1)),
    TensorFact("mask", "input", "HALF", (2, 1, -1)),
    TensorFact("y", "output", "HALF", (2, WIDTH, -1)),
)


def test_the_tensors_of_the_contract_pass() -> None:
    check_tensors(network(X, MASK, Y), SPEC, "float16")
    check_tensors(network(X, MASK, TensorFact("y", "output", "HALF", (2, -1, -1))), SPEC, "float16")


@pytest.mark.parametrize(("tensors", "dtype", "words"), [
    ((MASK, X, Y), "float16", "would bind mask, x, y; the runtime binds x, mask, y, by position"),
    ((X, MASK, Y), "float32", r"input 'x' is HALF \(2, 32, -1\); FLOAT \(2, 32, -1\) is expected"),
    ((X, TensorFact("mask", "input", "FLOAT", (2, 1, -1)), Y), "float16", "input 'mask' is FLOAT .*; HALF"),
    ((X, MASK, TensorFact("y", "output", "HALF", (2, 3, -1))), "float16", r"output 'y' is HALF \(2, 3, -1\)"),
    ((TensorFact("x", "input", "HALF", (2, WIDTH, 37)), MASK, Y), "float16", r"input 'x' is HALF \(2, 32, 37\)"),
])  # fmt: skip
def test_a_tensor_that_differs_from_the_contract_is_refused(
    tensors: tuple[TensorFact, ...], dtype: str, words: str
) -> None:
    with pytest.raises(EngineError, match=words):
        check_tensors(network(*tensors), SPEC, dtype)


def test_integers_keep_their_type_in_every_precision() -> None:
    spec = ModelSpec((TensorSpec("ids", (1, "n"), dtype="int64"),), (TensorSpec("y", (1, "n")),))
    ids, y = TensorFact("ids", "input", "INT64", (1, -1)), TensorFact("y", "output", "HALF", (1, -1))
    check_tensors(network(ids, y), spec, "float16")
