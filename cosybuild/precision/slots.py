"""Determine from ONNX's schemas which inputs and outputs of a node get the 16-bit type when the node is lowered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import onnx
import onnx_ir as ir

from cosybuild.precision.graph import is_float
from cosybuild.precision.storage import Storage

# Operators whose output type an attribute or a scale states, so that it does not follow from the inputs' types.
_SELF_TYPED = frozenset(
    {
        "EyeLike", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial",
        "Bernoulli", "HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix", "QuantizeLinear",
        "DequantizeLinear", "DynamicQuantizeLinear",
    }
)  # fmt: skip

# Type variables that stay float32 although the schema allows the lower type: those of statistics (`stash_type`).
_STATISTICS = {("LayerNormalization", "U"), ("BatchNormalization", "T2"), ("RMSNormalization", "U")}

# Variants that ONNX has and TensorRT does not: RTX 1.7's parser refuses the first, its builder the second.
_REFUSED_BY_TENSORRT = frozenset({("Mish", "BFLOAT16"), ("ConvTranspose", "BFLOAT16")})


@dataclass(frozen=True)
class Slots:
    """One flag for each input and output of a node: True if the tensor gets the 16-bit type in a lowered node."""

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]


def slots_of(node: ir.Node, storage: Storage, opset: int) -> Slots | str:
    """Return the flags of a node, or, as a string, the reason why the node cannot be lowered.

    Only float32 tensors have the flag True; index and boolean tensors never do.
    """
    if any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()
    ):
        return f"{node.op_type} has sub-graphs, which stay in float32"
    if any(value is not None and not isinstance(value.type, ir.TensorType) for value in (*node.inputs, *node.outputs)):
        return f"{node.op_type} has values that are not tensors"
    if node.op_type in _SELF_TYPED:
        return f"{node.op_type} has its type as an attribute"
    if (node.op_type, storage.name) in _REFUSED_BY_TENSORRT:
        return f"TensorRT does not accept {node.op_type} in {storage.name}"
    follows = _follows(node.op_type, node.domain, opset, storage.name, len(node.inputs), len(node.outputs))
    if follows is None:
        return f"{node.domain or 'the default domain'} has no operator {node.op_type} at opset {opset}"
    inputs = tuple(f and is_float(v) for f, v in zip(follows.inputs, node.inputs, strict=True))
    outputs = tuple(f and is_float(v) for f, v in zip(follows.outputs, node.outputs, strict=True))
    if not any(inputs) and not any(outputs):
        return f"{node.op_type} of opset {opset} has no {storage.name} variant"
    return Slots(inputs, outputs)


@cache
def _follows(op_type: str, domain: str, opset: int, lower: str, inputs: int, outputs: int) -> Slots | None:
    try:
        schema = onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None
    wanted = f"tensor({lower.lower()})"
    variables = {
        constraint.type_param_str
        for constraint in schema.type_constraints
        if wanted in constraint.allowed_type_strs and (op_type, constraint.type_param_str) not in _STATISTICS
    }
    return Slots(_expand(schema.inputs, inputs, variables), _expand(schema.outputs, outputs, variables))


def _expand(formal: Sequence[onnx.defs.OpSchema.FormalParameter], count: int, variables: set[str]) -> tuple[bool, ...]:
    """Return one flag for each actual parameter. The last formal parameter may stand for several."""
    return tuple(formal[min(index, len(formal) - 1)].type_str in variables for index in range(count))
