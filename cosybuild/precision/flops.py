"""The share of floating-point operations that is lowered, counted over matrix products and convolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from cosybuild.precision.graph import CONTRACTIONS, name_of

Shapes = Mapping[str, tuple[int, ...]]


def flops_of(node: ir.Node, shapes: Shapes) -> int:
    """Return the number of floating-point operations of a node; a multiplication and an addition count as two.

    The result is 0 for every node other than a matrix product, convolution or attention. It is also 0 for Einsum,
    because its shapes alone do not give the number.

    Args:
        node: the node.
        shapes: tensor name -> measured shape.
    """
    if node.op_type not in CONTRACTIONS or node.op_type == "Einsum":
        return 0
    first, second = (_shape(node.inputs[index], shapes) for index in (0, 1))
    result = _shape(node.outputs[0], shapes)
    if node.op_type == "Conv":
        return 2 * math.prod(result) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return 2 * math.prod(first) * math.prod(second[1:])
    if node.op_type == "Attention":
        # The scores, and their product with the values. Inputs of shape (B, H, T, D) and of (B, T, H D) give the same
        # number.
        return 4 * math.prod(first) * second[-2]
    inner = first[0] if node.attributes.get_int("transA", False) else first[-1]
    return 2 * math.prod(result) * inner


def lowered_share(nodes: list[ir.Node], kept: Mapping[str, str], shapes: Shapes) -> float:
    """Return the share of the operations of `nodes` that nodes not in `kept` have, 0 to 1.

    If the nodes have no operations, the share is 0 if all nodes are kept, else 1.
    """
    work = {name_of(node): flops_of(node, shapes) for node in nodes}
    total = sum(work.values())
    if total == 0:
        return float(any(name not in kept for name in work))
    return sum(w for name, w in work.items() if name not in kept) / total


def _shape(value: ir.Value | None, shapes: Shapes) -> tuple[int, ...]:
    assert value is not None
    return shapes[name_of(value)]
