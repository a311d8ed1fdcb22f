"""Small graphs that are written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.onnxgraph import files

SPEC = ModelSpec((TensorSpec("x", ("n", 4)),), (TensorSpec("y", ("n", 3)),))


def linear(nodes: Sequence[NodeProto] = (), weight: np.ndarray | None = None) -> ModelProto:
    """Return the graph y = x w with a 4 x 3 matrix w."""
    values = np.arange(12, dtype=np.float32).reshape(4, 3) if weight is None else weight
    nodes = nodes or [helper.make_node("MatMul", ["x", "w"], ["y"], name="/block/MatMul")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(values, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def save_split(model: ModelProto, path: Path, limit: int = 0) -> tuple[Path, ...]:
    """Save a model whose weights exceed `limit` bytes as a graph and a file of weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "INLINE_LIMIT", limit)
        return files.save_model(model, path)
