"""Facts about a graph: its nodes, its numbers of operators, its types and its opset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from cosybuild.models.spec import epsilon_text

# The default epsilon of ONNX's operator LayerNormalization.
_DEFAULT_EPSILON = 1e-5

# Operators of ONNX and of ONNX Runtime's own domain that round values to integers. DequantizeLinear is not included: by
# itself it only reads stored integers.
_QUANTISING = re.compile(r"^(Dynamic)?Quantize|^QLinear|^QAttention|^QEmbed|^QGemm|Integer(ToFloat)?$")


def graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs nested in the node's attributes (If, Loop, Scan)."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield every node of a graph, including the nodes of nested graphs."""
    for node in graph.node:
        yield node
        for nested in graphs_of(node):
            yield from nodes_of(nested)


def count_ops(model: ModelProto) -> dict[str, int]:
    """Return the number of nodes of each operator, in alphabetical order.

    Nested graphs are included. An operator of another domain has the name `domain::operator`.
    """
    names = (f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in nodes_of(model.graph))
    return dict(sorted(Counter(names).items()))


def layer_norms(model: ModelProto) -> dict[str, int]:
    """Return the number of LayerNormalization nodes for each epsilon, as `epsilon_text` writes it."""
    epsilons = Counter[str]()
    for node in nodes_of(model.graph):
        if node.op_type == "LayerNormalization":
            stated = [attribute.f for attribute in node.attribute if attribute.name == "epsilon"]
            epsilons[epsilon_text(stated[0] if stated else _DEFAULT_EPSILON)] += 1
    return dict(epsilons)


def op_difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return the change of the number of nodes of each operator from `before` to `after`, without unchanged ones."""
    names = sorted(set(before) | set(after))
    changes = {name: after.get(name, 0) - before.get(name, 0) for name in names}
    return {name: change for name, change in changes.items() if change}


def narrowest_float(model: ModelProto) -> str:
    """Return the floating-point type with the fewest significant bits in a graph: `bfloat16`, `float16` or `float32`.

    The function reads the types of inputs, outputs, weights and constants, and the target types of Cast nodes. The
    result is `float32` if none of these is a 16-bit type.
    """
    found = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    found |= {tensor.data_type for tensor in model.graph.initializer}
    for node in nodes_of(model.graph):
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to":
                found.add(attribute.i)
            if attribute.type == AttributeProto.TENSOR:
                found.add(attribute.t.data_type)
    if TensorProto.BFLOAT16 in found:
        return "bfloat16"
    return "float16" if TensorProto.FLOAT16 in found else "float32"


def is_quantised(model: ModelProto) -> bool:
    """Return True if the graph rounds values to integers: QuantizeLinear, MatMulInteger, QLinearConv and similar."""
    return any(_QUANTISING.search(node.op_type) for node in nodes_of(model.graph))


def default_opset(model: ModelProto) -> int:
    """Return the opset of the default domain; 0 if the model imports none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
