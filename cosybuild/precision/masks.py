"""Additive attention masks: their constants are clipped to finite numbers, and ranges that depend on them are adapted.

`Where(mask, 0, -inf)`, `(1 - mask) * -1e10` and similar masks overflow in half precision, where 0 * -inf is NaN. If the
additions of an attention stay in fp32 instead, the attention is no longer fused. Any number whose exponential is zero
hides a score equally well. Therefore a mask constant is clipped to a number that the 16-bit type represents
(`Storage.masked`), if it would leave less than half of the type's range for the score. The result of such a mask is not
defined for a row in which every score is hidden; models must not make such a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from cosybuild.precision.graph import MOVES, constant_of, float_inputs, float_outputs, is_float, name_of
from cosybuild.precision.ranges import Range
from cosybuild.precision.storage import Storage

_MASK_ARITHMETIC = MOVES | {"Add", "Sub", "Mul", "Where", "Cast", "Neg"}
_HIDING = 1000.0  # factors and biases of scores are smaller; exp(-1000) is zero even in float64
_ATTENTION_MASK = ("Attention", 3)  # the fourth input
SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})


@dataclass(frozen=True)
class Masks:
    """The mask constants of a graph, and the effect of clipping them.

    Attributes:
        clipped: name of a mask constant -> magnitude to which it is clipped; its own magnitude if nothing has to be
            clipped.
        ranges: tensor -> range after clipping, for all tensors between the constants and a softmax.
    """

    clipped: Mapping[str, float]
    ranges: Mapping[str, Range]


def find_masks(model: ir.Model, measured: Mapping[str, Range], storage: Storage) -> Masks:
    """Find the mask constants of a graph: constants that are used only in masks of softmax inputs and can hide a score.

    Args:
        model: the float32 graph, prepared by `graph.prepare`.
        measured: tensor -> measured range.
        storage: the 16-bit type.
    """
    path = _mask_nodes(model)
    bound = -storage.masked
    clipped: dict[str, float] = {}
    for value in model.graph.initializers.values():
        tensor = constant_of(value)
        if tensor is None or not is_float(value) or value.is_graph_output():
            continue
        if not value.uses() or any(node not in path for node, _ in value.uses()):
            continue
        largest = float(np.max(np.abs(tensor.numpy()), initial=0.0))
        if largest >= _HIDING:
            clipped[name_of(value)] = largest if largest <= 2 * bound else bound
    ranges: dict[str, Range] = {}
    for node in model.graph if clipped else ():
        if node in path and any(_affected(value, clipped, ranges) for value in float_inputs(node)):
            for output in float_outputs(node):
                known = measured.get(name_of(output), Range(-np.inf, np.inf))
                computed = _propagate(node, [_range(v, measured, clipped, ranges) for v in float_inputs(node)])
                low, high = max(known.low, computed.low), min(known.high, computed.high)
                # The range was measured before clipping, when hidden scores had lower values. If both ranges do not
                # overlap, only the computed one is valid.
                ranges[name_of(output)] = Range(low, high) if low <= high else computed
    return Masks(clipped, ranges)


def scores_of(softmax: ir.Node, masks: Masks) -> ir.Value | None:
    """Return the scores that enter a softmax, before a mask is added to them; None if there are none."""
    value = softmax.inputs[0]
    while value is not None and name_of(value) in masks.ranges:
        node = value.producer()
        assert node is not None
        free = [v for v in float_inputs(node) if not _affected(v, masks.clipped, masks.ranges)]
        followed = [v for v in float_inputs(node) if not v.is_initializer()]
        value = next((v for v in free if not v.is_initializer()), followed[0] if followed else None)
    return value


def _mask_nodes(model: ir.Model) -> set[ir.Node]:
    """Return the nodes of mask arithmetic whose results reach nothing but softmax inputs and attention masks."""
    path: set[ir.Node] = set()
    for node in reversed(list(model.graph)):
        uses = [use for value in float_outputs(node) for use in value.uses()]
        if node.op_type not in _MASK_ARITHMETIC or not uses or any(v.is_graph_output() for v in node.outputs):
            continue
        if all(
            user in path or user.op_type in SOFTMAXES or (user.op_type, index) == _ATTENTION_MASK
            for user, index in uses
        ):
            path.add(node)
    return path


def _affected(value: ir.Value, clipped: Mapping[str, float], ranges: Mapping[str, Range]) -> bool:
    return name_of(value) in clipped or name_of(value) in ranges


def _range(
    value: ir.Value, measured: Mapping[str, Range], clipped: Mapping[str, float], ranges: Mapping[str, Range]
) -> Range:
    name = name_of(value)
    if name in ranges:
        return ranges[name]
    tensor = constant_of(value)
    if tensor is None:
        return measured.get(name, Range(-np.inf, np.inf))
    limit = clipped.get(name, np.inf)
    values = np.clip(tensor.numpy(), -limit, limit)
    return Range(float(values.min()), float(values.max()))


def _propagate(node: ir.Node, inputs: list[Range]) -> Range:
    """Compute the range of a mask node's result from the ranges of its inputs, by interval arithmetic."""
    first, second = inputs[0], inputs[-1]
    if node.op_type == "Add":
        return Range(first.low + second.low, first.high + second.high)
    if node.op_type == "Sub":
        return Range(first.low - second.high, first.high - second.low)
    if node.op_type == "Neg":
        return Range(-first.high, -first.low)
    if node.op_type == "Mul":
        corners = [a * b for a in (first.low, first.high) for b in (second.low, second.high)]
        return Range(min(corners), max(corners))
    return Range(min(r.low for r in inputs), max(r.high for r in inputs))
