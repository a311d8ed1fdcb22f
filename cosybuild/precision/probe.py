"""Runs of a graph that also return intermediate tensors or scalars computed from them. Weights are not copied."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from cosybuild.backends.onnxruntime_backend import Level, load
from cosybuild.numerics.inputs import Array
from cosybuild.precision.graph import name_of

# Small constants may determine shapes and must stay constants. Larger ones become inputs, so that they are not copied.
_FED_BYTES = 4096


class Probe:
    """A session of ONNX Runtime without graph optimisations, so that every tensor of the graph is computed.

    Args:
        model: the graph; it is not changed.
        reductions: operators without attributes (`ReduceMax`, ...) that reduce a whole tensor to a scalar.
        tensors: the tensors to which all `reductions` are applied.
        shapes: tensors whose shape is returned.
        extra: tensors that are returned whole, in addition to the graph's outputs.
        threads: ONNX Runtime's intra_op_num_threads.
    """

    def __init__(
        self,
        model: ir.Model,
        *,
        reductions: Sequence[str] = (),
        tensors: Sequence[str] = (),
        shapes: Sequence[str] = (),
        extra: Sequence[str] = (),
        threads: int = 1,
    ) -> None:
        proto, self._weights = _detached(model)
        graph = proto.graph
        listed = {value.name for value in graph.output}
        for tensor in tensors:
            for reduction in reductions:
                name = scalar_name(tensor, reduction)
                graph.node.append(onnx.helper.make_node(reduction, [tensor], [name], name=name, keepdims=0))
                graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, []))
        for tensor in shapes:
            name = scalar_name(tensor, "Shape")
            graph.node.append(onnx.helper.make_node("Shape", [tensor], [name], name=name))
            graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [None]))
        values = {value.name: value for value in graph.value_info}
        # If the file states no type of a tensor, the new output states none either, and ONNX Runtime infers it.
        graph.output.extend(values.get(n, onnx.ValueInfoProto(name=n)) for n in extra if n not in listed)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "probe.onnx"
            path.write_bytes(proto.SerializeToString())
            self._session = load(path, threads=threads, level=Level.none)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return by name: the outputs and extra tensors, and the scalars and shapes under their `scalar_name`."""
        return self._session.infer({**inputs, **self._weights})


def scalar_name(tensor: str, operator: str) -> str:
    """Return the name that a `Probe` gives to the result of `operator` on `tensor`."""
    return f"{tensor}::{operator}"


def _detached(model: ir.Model) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return the graph with its large weights turned into inputs, and these weights by name."""
    large = {
        name: value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes > _FED_BYTES
    }
    weights = {name: _array(value) for name, value in large.items()}
    before = list(model.graph.inputs)
    order = list(model.graph.initializers.values())
    try:
        for name, value in large.items():
            del model.graph.initializers[name]
            if value not in before:
                model.graph.inputs.append(value)
        proto = ir.serde.serialize_model(model)
    finally:
        model.graph.inputs.clear()
        model.graph.inputs.extend(before)
        model.graph.initializers.clear()
        for value in order:
            model.graph.initializers[name_of(value)] = value
    return proto, weights


def _array(value: ir.Value) -> Array:
    assert value.const_value is not None
    return np.ascontiguousarray(value.const_value.numpy())
