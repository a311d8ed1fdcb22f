"""Small graphs in ONNX's text form, converted to normal form, with their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from cosybuild.config.groups.precision import PrecisionSettings, Target
from cosybuild.numerics.inputs import Array
from cosybuild.onnxgraph.check import check_model
from cosybuild.precision.decide import Decisions, decide
from cosybuild.precision.graph import prepare
from cosybuild.precision.lower import Lowered, lower
from cosybuild.precision.ranges import Ranges, measure_ranges
from cosybuild.precision.storage import FP16, Storage, storage_of


def graph(text: str, constants: Mapping[str, Array] | None = None, *, opset: int = 18) -> ir.Model:
    """Parse `text`, ONNX's text form of a graph; nodes are named after their first output."""
    header = f'<ir_version: 9, opset_import: ["" : {opset}]>\n'
    proto = onnx.parser.parse_model(header + text)
    for node in proto.graph.node:
        node.name = f"/{node.output[0]}"
    for name, values in (constants or {}).items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    return ir.from_proto(proto)


def measured(model: ir.Model, *samples: Mapping[str, Array], storage: Storage = FP16) -> Ranges:
    prepare(model, storage)
    return measure_ranges(model, samples)


def decided(model: ir.Model, *samples: Mapping[str, Array], **settings: Any) -> Decisions:
    """Return the decisions for fp16, or for `settings`."""
    chosen = PrecisionSettings(**{"target": Target.fp16, **settings})
    storage = storage_of(chosen.target)
    assert storage is not None
    return decide(model, measured(model, *samples, storage=storage), chosen)


def checked(model: ir.Model, decisions: Decisions) -> Lowered:
    """Lower the graph, and check it with ONNX's checker and strict type inference."""
    lowered = lower(model, decisions)
    check_model(ir.to_proto(lowered.model))
    return lowered


def casts(model: ir.Model) -> list[tuple[str, str]]:
    """Return (tensor, type to which it is cast), in graph order."""
    return [
        (str(node.inputs[0].name), ir.DataType(node.attributes["to"].as_int()).name)
        for node in model.graph
        if node.op_type == "Cast" and node.inputs[0] is not None
    ]


def types(model: ir.Model) -> dict[str, str]:
    """Return the type of every tensor by name."""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph for value in node.outputs]
    return {str(value.name): value.dtype.name for value in values if value.dtype is not None}
