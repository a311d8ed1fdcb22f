"""Real engines of small graphs, and the errors of failed builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from cosybuild.backends.tensorrt import progress
from cosybuild.backends.tensorrt.builder import BuiltEngine, build_engine
from cosybuild.backends.tensorrt.builder_config import ShapeProfile, ShapeRange, shapes_from_profile
from cosybuild.backends.tensorrt.library import RTX_SMS, TensorRtLibrary
from cosybuild.config.groups.trt import Refit, TrtSettings
from cosybuild.errors import ConfigurationError, EngineError
from cosybuild.models.shape_profile import SizeRange
from cosybuild.system.environment import Environment
from tests.backends.tensorrt.graphs import SPEC, WIDTH, attention_graph, write


def build(library: TensorRtLibrary, graph: Path, path: Path, profiles: list[ShapeProfile], **more: Any) -> BuiltEngine:
    settings = more.pop("settings", TrtSettings())
    return build_engine(library, graph, path, settings, profiles=profiles, **{"precision": "fp16", "sm": 89, **more})


def test_an_engine_is_written_with_its_figures(fp16_engine: BuiltEngine) -> None:
    assert fp16_engine.path.read_bytes()[:4] == b"vtrt"
    (activation,) = fp16_engine.log.activation_bytes
    assert 0 < activation < 72_000_000  # one unfused matrix of scores
    assert fp16_engine.log.weights_bytes is not None
    assert fp16_engine.log.peak_host_bytes is not None


def test_the_header_identifies_the_library_and_version_of_the_file(
    fp16_engine: BuiltEngine, rtx: TensorRtLibrary
) -> None:
    header = fp16_engine.path.read_bytes()[:64]
    assert int.from_bytes(header[16:24], "little") == fp16_engine.path.stat().st_size
    assert ".".join(map(str, header[24:28])) == rtx.version


def test_planning_knows_the_same_sms_as_the_module(rtx: TensorRtLibrary) -> None:
    assert rtx.sms == RTX_SMS


@pytest.mark.parametrize("sm", RTX_SMS)
def test_every_known_sm_is_built_for(
    rtx: TensorRtLibrary, fp16_graph: Path, shapes: ShapeProfile, tmp_path: Path, sm: int
) -> None:
    assert build(rtx, fp16_graph, tmp_path / "e", [shapes], sm=sm).path.stat().st_size > 0


def test_an_unknown_sm_is_refused_with_the_list_of_known_ones(
    rtx: TensorRtLibrary, fp16_graph: Path, shapes: ShapeProfile, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(rtx, fp16_graph, tmp_path / "e", [shapes], sm=90)
    assert caught.value.message == (
        f"trt.sm names sm_90, which {rtx.title} does not build for; "
        "it builds for sm_75, sm_80, sm_86, sm_89, sm_120, sm_121."
    )


def test_each_of_several_profiles_has_its_own_figures(rtx: TensorRtLibrary, fp32_graph: Path, tmp_path: Path) -> None:
    profiles = [shapes_from_profile({"seq_len": SizeRange(4, 100, top)}, SPEC) for top in (500, 2000)]
    small, large = build(rtx, fp32_graph, tmp_path / "e", profiles, precision="fp32").log.activation_bytes
    assert large > 10 * small  # the unfused scores grow with the square


def test_the_operator_attention_builds_where_it_has_no_kernel_of_its_own(rtx: TensorRtLibrary, tmp_path: Path) -> None:
    """In float32 on sm_89 the builder refuses the network unless it may decompose the operator."""
    q, k, v, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2, "seq_len", 16]) for name in "qkvy")
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], name="/attn/Attention")
    graph = helper.make_graph([node], "g", [q, k, v], [y])
    path = tmp_path / "attention.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), str(path))
    shapes = dict.fromkeys("qkv", ShapeRange((2, 2, 4, 16), (2, 2, 64, 16), (2, 2, 256, 16)))
    assert build(rtx, path, tmp_path / "e", [shapes], precision="fp32").path.stat().st_size > 0


@pytest.fixture
def watched_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll the progress more often, because a fast machine builds these engines between two polls."""
    monkeypatch.setattr(progress, "_POLL_SECONDS", 0.001)


@pytest.mark.usefixtures("watched_closely")
def test_progress_is_reported(rtx: TensorRtLibrary, fp16_graph: Path, shapes: ShapeProfile, tmp_path: Path) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    build(rtx, fp16_graph, tmp_path / "e", [shapes], emit=lambda kind, **facts: told.append((kind, facts)))
    assert {kind for kind, _ in told} == {"progress"}
    assert all(0 <= facts["done"] <= facts["total"] and facts["what"] for _, facts in told)


def test_every_parser_error_is_reported_completely(rtx: TensorRtLibrary, tmp_path: Path) -> None:
    info = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])]
    nodes = [
        helper.make_node("Det", ["x"], ["y"], name="/mid_blocks.3/attn/Det"),
        helper.make_node("Twist", ["x"], ["z"], name="/head/Twist", domain="acme"),
    ]
    result = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])]
    graph = write(tmp_path / "g.onnx", nodes, info, result)
    model = onnx.load(graph)
    model.opset_import.append(helper.make_opsetid("acme", 1))
    onnx.save(model, graph)
    with pytest.raises(EngineError) as caught:
        build(rtx, graph, tmp_path / "e", [], precision="fp32")
    lines = caught.value.message.splitlines()
    assert lines[0] == f"{rtx.title} cannot read the ONNX graph:"
    assert lines[1].startswith(
        "- node 0 '/mid_blocks.3/attn/Det', operator Det, of the module 'mid_blocks.3.attn': UNSUPPORTED_NODE"
    )
    assert lines[2].startswith("- node 1 '/head/Twist', operator Twist, of the module 'head': INVALID_NODE: ")
    assert "Plugin not found" in lines[2]
    assert not (tmp_path / "e").exists()


def test_a_graph_of_mixed_types_is_refused_and_the_node_is_named(rtx: TensorRtLibrary, tmp_path: Path) -> None:
    info = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])]
    half = helper.make_tensor("w", TensorProto.FLOAT16, (1,), [1.0])
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], name="/a/Add")]
    graph = write(
        tmp_path / "g.onnx", nodes, info, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])], [half]
    )
    with pytest.raises(EngineError, match=r"'/a/Add'.*must have same input types.*Float and Half"):
        build(rtx, graph, tmp_path / "e", [], precision="fp32")


def test_a_file_that_is_no_graph_is_refused(rtx: TensorRtLibrary, tmp_path: Path) -> None:
    graph = tmp_path / "g.onnx"
    graph.write_bytes(b"junk")
    with pytest.raises(EngineError, match=r"cannot read the ONNX graph:\n- g\.onnx cannot be read: it is incomplete"):
        build(rtx, graph, tmp_path / "e", [])


def test_a_builder_that_returns_nothing_raises_an_error_and_leaves_no_file(
    rtx: TensorRtLibrary, fp32_graph: Path, shapes: ShapeProfile, tmp_path: Path
) -> None:
    small = TrtSettings(workspace_gib=0.001)
    with pytest.raises(EngineError, match=r"built nothing.*\n.*workspace limit") as caught:
        build(rtx, fp32_graph, tmp_path / "e", [shapes], settings=small, precision="fp32")
    assert caught.value.hint == "Next: raise trt.workspace_gib, or lower the profile's max (trt_profile)."
    assert list(tmp_path.iterdir()) == []


def test_fp32_products_on_turing_end_with_a_reason(
    rtx: TensorRtLibrary, fp32_graph: Path, shapes: ShapeProfile, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="FP32 GEMM is not supported"):
        build(rtx, fp32_graph, tmp_path / "e", [shapes], precision="fp32", sm=75)


@pytest.mark.skipif(bool(Environment().gpus), reason="with a GPU the kernels can be compiled")
def test_refit_ahead_of_time_ends_with_a_reason(
    rtx: TensorRtLibrary, fp16_graph: Path, shapes: ShapeProfile, tmp_path: Path
) -> None:
    with pytest.raises(EngineError) as caught:
        build(rtx, fp16_graph, tmp_path / "e", [shapes], settings=TrtSettings(refit=Refit.full))
    assert caught.value.hint == "Next: build on a machine with a GPU; refit and strip compile kernels there."


def test_a_profile_that_misses_a_dynamic_input_is_refused(
    rtx: TensorRtLibrary, fp16_graph: Path, tmp_path: Path
) -> None:
    lacking = {"x": ShapeRange((2, WIDTH, 4), (2, WIDTH, 8), (2, WIDTH, 16))}
    with pytest.raises(EngineError, match="mask"):
        build(rtx, fp16_graph, tmp_path / "e", [lacking])


def test_tactic_sources_are_checked_by_name(
    rtx: TensorRtLibrary, fp16_graph: Path, shapes: ShapeProfile, tmp_path: Path
) -> None:
    some = TrtSettings(tactic_sources=("jit_convolutions",), optimization_level=1)
    assert build(rtx, fp16_graph, tmp_path / "e", [shapes], settings=some).path.exists()
    with pytest.raises(ConfigurationError) as caught:
        build(rtx, fp16_graph, tmp_path / "e", [shapes], settings=TrtSettings(tactic_sources=("cublas",)))
    assert caught.value.message == (
        f"trt.tactic_sources names 'cublas', which {rtx.title} does not have; "
        "it has edge_mask_convolutions, jit_convolutions."
    )


def test_weights_in_a_file_beside_the_graph_are_found(
    rtx: TensorRtLibrary, shapes: ShapeProfile, tmp_path: Path
) -> None:
    graph = attention_graph(tmp_path / "g.onnx", "float16")
    model = onnx.load(graph)
    onnx.save(model, graph, save_as_external_data=True, location="g.onnx.data", size_threshold=0)
    assert build(rtx, graph, tmp_path / "e", [shapes]).path.exists()


def test_mish_in_bf16_is_refused_by_the_parser_which_is_why_lowering_keeps_it(
    rtx: TensorRtLibrary, tmp_path: Path
) -> None:
    info = [helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [2, 2]) for name in "xy"]
    graph = write(tmp_path / "g.onnx", [helper.make_node("Mish", ["x"], ["y"], name="/Mish")], info[:1], info[1:])
    with pytest.raises(EngineError, match=r"node 0 '/Mish', operator Mish: UNSUPPORTED_NODE: .*current type = BF16"):
        build(rtx, graph, tmp_path / "e", [], precision="bf16")


def test_deconvolution_in_bf16_is_refused_by_the_builder_which_is_why_lowering_keeps_it(
    rtx: TensorRtLibrary, tmp_path: Path
) -> None:
    kind = TensorProto.BFLOAT16
    graph = write(
        tmp_path / "g.onnx",
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="/up/ConvTranspose", strides=[2], pads=[1, 1])],
        [helper.make_tensor_value_info("x", kind, [2, 8, 10])],
        [helper.make_tensor_value_info("y", kind, [2, 8, 20])],
        [helper.make_tensor("w", kind, (8, 8, 4), [0.5] * 256)],
    )
    with pytest.raises(EngineError, match=r"infer_type.*/up/ConvTranspose"):
        build(rtx, graph, tmp_path / "e", [], precision="bf16")
