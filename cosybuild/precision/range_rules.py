"""The rules that compare measured ranges and constants with the limits of the 16-bit type."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from cosybuild.precision.graph import computed_inputs, constant_of, float_inputs, float_outputs, name_of
from cosybuild.precision.rules import RuleInputs, Verdicts
from cosybuild.precision.storage import FP16

# Operator -> bound on its result, for inputs that are slightly larger than the measured ones: for such inputs, exp(x)
# and similar functions may already overflow.
_RESULT_BOUNDS: Mapping[str, Callable[[float], float]] = {
    "Exp": lambda high: math.exp(min(2 * high, 700.0)),
    "Softplus": lambda high: math.exp(min(high, 700.0)),
    "Mish": lambda high: math.exp(min(high, 700.0)),
}


def exponentials(given: RuleInputs) -> Verdicts:
    """Keep in float32 the exponentials and powers that overflow for inputs slightly beyond the measured range.

    A node that bounds the result of an exponential from above is kept too, so that only the bounded result is stored.
    """
    for node in given.nodes:
        known = given.ranges.get(name_of(node.inputs[0])) if node.inputs and node.inputs[0] is not None else None
        if known is None:
            continue
        if node.op_type in _RESULT_BOUNDS and (value := _RESULT_BOUNDS[node.op_type](known.high)) > given.storage.max:
            yield node, f"the exponential of {known.high:.4g} comes too close to {given.storage.max:.4g} ({value:.3g})"
            for user, _ in node.outputs[0].uses():
                if user.op_type in ("Clip", "Min"):
                    yield user, f"bounds {name_of(node)}, which may exceed {given.storage.max:.4g}"
        exponent = constant_of(node.inputs[1]) if node.op_type == "Pow" else None
        if exponent is not None and math.isfinite(known.max_abs):
            power = float(np.max(exponent.numpy()))
            if power > 1 and 2 * known.max_abs > given.storage.max ** (1 / power):
                yield node, f"twice {known.max_abs:.4g} to the power of {power:g} exceeds {given.storage.max:.4g}"


def logarithms(given: RuleInputs) -> Verdicts:
    """Keep in float32 the logarithms of numbers below the smallest normal number of the 16-bit type.

    For example, a lower bound of 1e-10 is zero in fp16, and its logarithm is infinite.
    """
    for node in given.nodes:
        known = given.ranges.get(name_of(node.inputs[0])) if node.op_type == "Log" and node.inputs[0] else None
        if known is not None and 0 <= known.low < given.storage.smallest_normal:
            yield node, f"the logarithm of {known.low:.3g}, below the normal numbers"


def magnitudes(given: RuleInputs) -> Verdicts:
    """Keep in float32 the nodes that read or compute a tensor whose range is too large, too small or not measured."""
    for node in given.nodes:
        for value in (*float_outputs(node), *computed_inputs(node)):
            verb = "makes" if value.producer() is node else "reads"
            known = given.ranges.get(name_of(value))
            # Masks are large on purpose. They must be representable in the type, but need no margin.
            limit = given.storage.max if name_of(value) in given.masks.ranges else given.data_max
            if known is None:
                yield node, f"{verb} {value.name}, whose range was not measured"
            elif known.max_abs > limit:
                yield node, f"{verb} {value.name}, up to {known.max_abs:.4g}, above data_max {limit:g}"
            elif 0 < known.max_abs < given.storage.smallest_normal:
                yield node, f"{verb} {value.name}, at most {known.max_abs:.3g}, below the normal numbers"


def sums_of_products(given: RuleInputs) -> Verdicts:
    """Keep in float32 the products with constant weights whose partial sums may overflow if an engine sums in fp16.

    The bound on a partial sum is max|x| times the largest sum of |weight| for one output element. Products of two
    computed tensors have no such bound; the margin of `data_max` covers them. bfloat16 is always accumulated in
    float32.
    """
    if given.storage is not FP16:
        return
    for node in given.nodes:
        if node.op_type not in ("MatMul", "Gemm", "Conv", "ConvTranspose"):
            continue
        data, weight = node.inputs[0], constant_of(node.inputs[1])
        known = given.ranges.get(name_of(data)) if data is not None else None
        if weight is None or known is None:
            continue
        bound = known.max_abs * _largest_weight_sum(node, weight)
        if bound > given.storage.max:
            yield (
                node,
                f"partial sums of up to {bound:.4g} (max|x| {known.max_abs:.4g}) can exceed {given.storage.max:g}",
            )


def _largest_weight_sum(node: ir.Node, weight: ir.TensorProtocol) -> float:
    """Return the largest sum of |weight| over the weights that contribute to one output element."""
    magnitude = np.abs(weight.numpy())
    if node.op_type == "Conv":
        axes = tuple(range(1, magnitude.ndim))
    elif node.op_type == "ConvTranspose":
        axes = (0, *range(2, magnitude.ndim))
    elif node.op_type == "Gemm" and node.attributes.get_int("transB", False):
        axes = (1,)
    else:
        axes = (max(0, magnitude.ndim - 2),)
    return float(np.max(magnitude.sum(axes), initial=0.0))


def constants(given: RuleInputs) -> Verdicts:
    """Keep in float32 the nodes with a constant that exceeds `init_max`, or whose elements are all below `init_min`."""
    for node in given.nodes:
        for value in float_inputs(node):
            facts = given.constants.get(name_of(value))
            if facts is None or name_of(value) in given.masks.clipped:
                continue
            if facts.max_abs > given.init_max:
                yield node, f"constant {value.name} reaches {facts.max_abs:.4g}, above init_max {given.init_max:g}"
            elif 0 < facts.max_abs < given.init_min:
                yield node, f"constant {value.name} is at most {facts.max_abs:.3g}, below init_min {given.init_min:.3g}"
