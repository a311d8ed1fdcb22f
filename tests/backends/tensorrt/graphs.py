"""Small graphs that parse and build in a second: attention, a convolution and a matrix product."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from cosybuild.models.spec import ModelSpec, TensorSpec

HEADS, CHANNELS = 2, 16
WIDTH = HEADS * CHANNELS

SPEC = ModelSpec(
    inputs=(TensorSpec("x", (2, WIDTH, "seq_len")), TensorSpec("mask", (2, 1, "seq_len"), generator="mask")),
    outputs=(TensorSpec("y", (2, WIDTH, "seq_len")),),
    frames_per_second=50.0,
)

_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}


def attention_graph(path: Path, dtype: str = "float32", *, scores_used_twice: bool = False) -> Path:
    """Write a graph of a convolution, masked attention of `HEADS` heads, and a product with a weight.

    Args:
        dtype: the type of all tensors, inputs and outputs included.
        scores_used_twice: the attention weights also reach the output by another way, so that no
            kernel can keep them to itself.
    """
    kind = _TYPES[dtype]
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> Any:
        values = rng.standard_normal(shape).astype(np.float32) * 0.1
        return helper.make_tensor(name, kind, shape, values.flatten())

    def whole(name: str, *values: int) -> Any:
        return helper.make_tensor(name, TensorProto.INT64, (len(values),), values)

    add = "/blocks.0/attn/"
    nodes = [
        helper.make_node("Mul", ["x", "mask"], ["masked"], name="/blocks.0/conv/Mul"),
        helper.make_node("Conv", ["masked", "kernel"], ["h"], name="/blocks.0/conv/Conv", pads=[1, 1]),
        helper.make_node("Reshape", ["h", "split"], ["heads"], name=f"{add}Reshape"),
        helper.make_node("Transpose", ["heads"], ["q"], name=f"{add}Transpose", perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "heads"], ["scores"], name=f"{add}MatMul"),
        helper.make_node("Sub", ["mask", "one"], ["hidden"], name=f"{add}Sub"),
        helper.make_node("Mul", ["hidden", "far"], ["bias3"], name=f"{add}Mul"),
        helper.make_node("Unsqueeze", ["bias3", "axis"], ["bias"], name=f"{add}Unsqueeze"),
        helper.make_node("Add", ["scores", "bias"], ["biased"], name=f"{add}Add"),
        helper.make_node("Softmax", ["biased"], ["weights"], name=f"{add}Softmax", axis=-1),
        helper.make_node("MatMul", ["weights", "q"], ["mixed"], name=f"{add}MatMul_1"),
        helper.make_node("Transpose", ["mixed"], ["back"], name=f"{add}Transpose_1", perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", ["back", "join"], ["joined"], name=f"{add}Reshape_1"),
        helper.make_node("MatMul", ["out", "joined"], ["projected"], name="/blocks.0/out/MatMul"),
    ]
    last = "projected"
    if scores_used_twice:
        nodes += [
            helper.make_node("ReduceMax", ["weights", "heads_axis"], ["most"], name="/extra/ReduceMax", keepdims=0),
            helper.make_node("MatMul", ["projected", "most"], ["again"], name="/extra/MatMul"),
        ]
        last = "again"
    nodes.append(helper.make_node("Mul", [last, "mask"], ["y"], name="/Mul"))
    constants = [
        weight("kernel", WIDTH, WIDTH, 3),
        weight("out", WIDTH, WIDTH),
        helper.make_tensor("one", kind, (1,), [1.0]),
        helper.make_tensor("far", kind, (1,), [30000.0]),
        whole("split", 2, HEADS, CHANNELS, -1),
        whole("join", 2, WIDTH, -1),
        whole("axis", 1),
        whole("heads_axis", 1),
    ]
    inputs = [helper.make_tensor_value_info(t.name, kind, list(t.shape)) for t in SPEC.inputs]
    outputs = [helper.make_tensor_value_info(t.name, kind, list(t.shape)) for t in SPEC.outputs]
    return write(path, nodes, inputs, outputs, constants)


def write(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any] = []) -> Path:  # noqa: B006  # never changed
    """Write a checked model of opset 18."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path
