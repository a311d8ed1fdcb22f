"""Emulation of a lowered graph on a CPU: float32 arithmetic, with every lowered tensor rounded to its storage type.

ONNX Runtime's CPU kernels compute most half-precision operators in float32, with casts around them. Its optimiser
removes these casts between neighbouring operators. A value beyond the range of the type then stays finite, where a GPU
would store an infinity. Therefore the emulation adds, after each result that is stored in the 16-bit type, a cast to
this type and a cast back. ONNX Runtime cannot remove such a pair, because it changes values, and the cast turns values
beyond the range into infinities. Sums inside one operator stay in float32, as in a GPU's matrix units.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common as passes

from cosybuild.errors import PrecisionError
from cosybuild.precision.graph import EXACT, is_float, name_of

_LOWER = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
_RAW, ROUNDED = "::unrounded", "::rounded"


def emulate(lowered: ir.Model) -> ir.Model:
    """Return a float32 graph that computes the values that the lowered graph would store.

    Inputs, outputs and constants are float32. Tensors keep their names and have the rounded values. bfloat16 works too,
    although ONNX Runtime's CPU provider has few kernels for it.

    Raises:
        PrecisionError: the type of a tensor is neither stated nor can be inferred.
    """
    model = ir.Model(lowered.graph.clone(), ir_version=lowered.ir_version)
    graph = model.graph
    _complete_types(model)
    lower = {value: kind for value in _values(model) if (kind := value.dtype) in _LOWER}
    for value, kind in lower.items():
        tensor = value.const_value if value.is_initializer() else None
        if tensor is not None:
            value.const_value = ir.Tensor(tensor.numpy().astype("float32"), name=name_of(value))
        value.type = ir.TensorType(ir.DataType.FLOAT)
        assert kind is not None
    for node in list(graph):
        if node.op_type == "Cast" and node.attributes["to"].as_int() in _LOWER:
            node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT)
        elif node.op_type == "ConstantOfShape" and "value" in node.attributes:
            fill = node.attributes["value"].as_tensor()
            if fill.dtype in _LOWER:
                fill = ir.Tensor(fill.numpy().astype("float32"), name="value")
                node.attributes["value"] = ir.AttrTensor("value", fill)
        if node.op_type in EXACT:
            continue
        for value in node.outputs:
            if value in lower and (value.uses() or value.is_graph_output()):
                _round(graph, value, lower[value])
    first = graph[0]
    for value in graph.inputs:
        if value in lower and value.uses():
            _round_input(graph, value, lower[value], first)
    return model


def _complete_types(model: ir.Model) -> None:
    """Infer missing types of tensors. A tensor of unknown type would not be rounded."""
    if any(value.type is None for value in _values(model)):
        passes.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=False)(model)
    for value in _values(model):
        if value.type is None and value.uses():
            raise PrecisionError(
                f"The type of {value.name} in the lowered graph is not stated and cannot be inferred.",
                hint="Next: precision.method=rules, whose graphs state every type.",
            )


def float_names(model: ir.Model) -> list[str]:
    """Return the names of the float32 tensors in an emulated graph that exist in the lowered graph too, in graph order.

    Tensors that only the emulation has are left out: values before rounding, and rounded inputs.
    """
    return [
        name_of(value)
        for node in model.graph
        for value in node.outputs
        if is_float(value) and not name_of(value).endswith((_RAW, ROUNDED))
    ]


def maker_of(model: ir.Model, tensor: str) -> ir.Node:
    """Return the node of the emulated graph that computes a tensor of the lowered graph."""
    for node in model.graph:
        if any(value.name in (tensor, tensor + _RAW) for value in node.outputs) and _RAW not in (node.name or ""):
            return node
    raise KeyError(tensor)


def _values(model: ir.Model) -> list[ir.Value]:
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    return values + [value for node in model.graph.all_nodes() for value in node.outputs]


def _round(graph: ir.Graph, value: ir.Value, kind: ir.DataType) -> None:
    """Insert a cast down and a cast up after `value`.

    The rounded tensor takes over the name and the users of `value`.
    """
    node = value.producer()
    assert node is not None
    name = name_of(value)
    down, up = _pair(value, kind, name)
    result = up.outputs[0]
    for user, index in tuple(value.uses()):
        if user is not down:
            user.replace_input_with(index, result)
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = result
    value.name = name + _RAW
    result.name = name
    graph.insert_after(node, [down, up])


def _round_input(graph: ir.Graph, value: ir.Value, kind: ir.DataType, first: ir.Node) -> None:
    down, up = _pair(value, kind, name_of(value))
    up.outputs[0].name = f"{value.name}{ROUNDED}"
    for user, index in tuple(value.uses()):
        if user is not down:
            user.replace_input_with(index, up.outputs[0])
    graph.insert_before(first, [down, up])


def _pair(value: ir.Value, kind: ir.DataType, name: str) -> tuple[ir.Node, ir.Node]:
    down = ir.Node("", "Cast", [value], [ir.AttrInt64("to", kind)], name=f"{name}{_RAW}/down")
    up = ir.Node("", "Cast", [down.outputs[0]], [ir.AttrInt64("to", ir.DataType.FLOAT)], name=f"{name}{_RAW}/up")
    down.outputs[0].name = f"{name}::stored"
    down.outputs[0].type = ir.TensorType(kind)
    up.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    down.outputs[0].shape = up.outputs[0].shape = value.shape
    return down, up
