"""The rewrite that splits q, k and v before their heads: equal values, and fewer copies in TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from cosybuild.numerics.inputs import Draw, draw_inputs
from cosybuild.onnxgraph.files import load_model
from cosybuild.onnxgraph.heads import has_split_heads, split_columns
from cosybuild.onnxgraph.summary import count_ops
from tests.stages.building import Bench, graph_of, tiny

HEADS, WIDTH, CHANNELS = 2, 4, 6


def projection(
    *, parts: tuple[int, ...] = (HEADS, HEADS, HEADS), watched: bool = False, perm: tuple[int, ...] = (0, 2, 1, 3)
) -> ModelProto:
    """Return a graph x (frames, channels) -> q, k, v of two rows of frames."""
    total = sum(parts)
    weights = np.random.default_rng(0).standard_normal((CHANNELS, total * WIDTH), np.float32)
    constants = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.array([2, -1, total, WIDTH], np.int64), "target"),
        numpy_helper.from_array(np.array(parts, np.int64), "parts"),
    ]
    names = [f"part{index}" for index in range(len(parts))]
    nodes = [
        helper.make_node("MatMul", ["x", "weights"], ["joined"]),
        helper.make_node("Reshape", ["joined", "target"], ["framed"]),
        helper.make_node("Transpose", ["framed"], ["heads"], perm=perm),
        helper.make_node("Split", ["heads", "parts"], names, "attn/Split", axis=1),
    ]
    outputs = [*names, "heads"] if watched else names
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS])], values, constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: ModelProto, feeds: dict[str, Any]) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answers: list[Any] = session.run(None, feeds)
    return answers


@pytest.mark.parametrize("parts", [(2, 2, 2), (1, 3), (4, 4)])
def test_the_rewritten_graph_gives_bitwise_equal_parts(parts: tuple[int, ...]) -> None:
    model = projection(parts=parts)
    feeds = {"x": np.random.default_rng(1).standard_normal((10, CHANNELS), np.float32)}
    before = run(model, feeds)
    assert has_split_heads(model)
    assert split_columns(model) == 1
    checker.check_model(model)
    for one, other in zip(before, run(model, feeds), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_split_reads_the_projection_and_no_chain_is_left() -> None:
    model = projection()
    split_columns(model)
    (split,) = [node for node in model.graph.node if node.op_type == "Split"]
    assert split.input[0] == "joined"
    assert split.name == "attn/Split"
    assert not has_split_heads(model)
    assert split_columns(model) == 0


@pytest.mark.parametrize("kept", [projection(watched=True), projection(perm=(0, 2, 3, 1))])
def test_a_chain_with_other_readers_or_another_layout_is_not_changed(kept: ModelProto) -> None:
    before = kept.SerializeToString()
    assert not has_split_heads(kept)
    assert split_columns(kept) == 0
    assert kept.SerializeToString() == before


@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_a_rewritten_estimator_gives_equal_outputs(dynamic_batch: bool, tmp_path: Path) -> None:
    sizes = {"seq_len": (4, 24, 64), **({"batch": (2, 4, 8)} if dynamic_batch else {})}
    bench = Bench(tiny("cosyvoice2", sizes=sizes, dynamic_batch=dynamic_batch), tmp_path)
    graph = graph_of(bench.simplify(graph_of(bench.export())))
    model = load_model(graph.path)
    attentions = count_ops(model)["Softmax"]
    drawn = Draw({"seq_len": 21, "batch": 4} if dynamic_batch else {"seq_len": 21}, padded=True)
    feeds = draw_inputs(bench.asked.subject.spec, drawn)
    before = run(model, feeds)
    assert split_columns(model) == attentions
    checker.check_model(model)
    np.testing.assert_array_equal(before[0], run(model, feeds)[0])
