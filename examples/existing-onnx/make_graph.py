"""Writes loudness.onnx, an example of an existing graph."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, 80, "frames"])
loudness = helper.make_tensor_value_info("loudness", TensorProto.FLOAT, [1, "frames"])
nodes = [
    helper.make_node("Constant", [], ["channels"], value=helper.make_tensor("", TensorProto.INT64, [1], [1])),
    helper.make_node("ReduceLogSumExp", ["mel", "channels"], ["loudness"], keepdims=0),
]
graph = helper.make_graph(nodes, "loudness", [mel], [loudness])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
onnx.checker.check_model(model)
onnx.save(model, "loudness.onnx")
