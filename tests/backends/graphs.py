"""Small ONNX files for tests of the backends."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def written(directory: Path, op: str = "Neg", kind: int = TensorProto.FLOAT, opset: int = 18) -> Path:
    values = [helper.make_tensor_value_info(name, kind, ["n", 2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = directory / "graph.onnx"
    onnx.save(model, str(path))
    return path


def endless(directory: Path) -> Path:
    """Write a graph that counts to 2**60, which no machine waits for."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    scalars = [helper.make_tensor_value_info(name, kind, []) for name, kind in (
        ("i", TensorProto.INT64), ("go", TensorProto.BOOL), ("on", TensorProto.BOOL)
    )]  # fmt: skip
    sums = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("before", "after", "x", "y")]
    steps = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["before", "one"], ["after"])]
    body = helper.make_graph(steps, "body", [*scalars[:2], sums[0]], [scalars[2], sums[1]], [one])
    often = helper.make_tensor("often", TensorProto.INT64, [], [2**60])
    loop = helper.make_node("Loop", ["often", "", "x"], ["y"], body=body)
    model = helper.make_model(
        helper.make_graph([loop], "count", [sums[2]], [sums[3]], [often]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    path = directory / "count.onnx"
    onnx.save(model, str(path))
    return path
