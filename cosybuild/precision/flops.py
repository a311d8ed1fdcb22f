"""How much of the arithmetic is lowered: work of matrix products and convolutions, from measured shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from cosybuild.precision.graph import CONTRACTIONS, name_of

Shapes = Mapping[str, tuple[int, ...]]


def flops_of(node: ir.Node, shapes: Shapes) -> int:
    """Floating-point operations of one execution, a multiplication and an addition counted as two.

    Zero for what is no matrix product, convolution or attention, and for Einsum, whose work its shapes
    do not tell.
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
        # Scores and their product with the values; (B, H, T, D) or (B, T, H D), which multiply alike.
        return 4 * math.prod(first) * second[-2]
    inner = first[0] if node.attributes.get_int("transA", False) else first[-1]
    return 2 * math.prod(result) * inner


def lowered_share(nodes: list[ir.Node], kept: Mapping[str, str], shapes: Shapes) -> float:
    """The share of the work of `nodes` that is not kept, 0 to 1; 1 where there is no such work."""
    work = {name_of(node): flops_of(node, shapes) for node in nodes}
    total = sum(work.values())
    return 1.0 if total == 0 else sum(w for name, w in work.items() if name not in kept) / total


def _shape(value: ir.Value | None, shapes: Shapes) -> tuple[int, ...]:
    assert value is not None
    return shapes[name_of(value)]
