"""The rules for nodes that must stay in fp32. Each rule yields nodes with a reason; none changes the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from cosybuild.precision.constants import ConstantFacts
from cosybuild.precision.graph import (
    CONTRACTIONS,
    MOVES,
    NORMALISATIONS,
    SUMS,
    computed_inputs,
    constant_of,
    float_inputs,
    float_outputs,
    is_float,
    name_of,
)
from cosybuild.precision.masks import SOFTMAXES, Masks, scores_of
from cosybuild.precision.ranges import Range
from cosybuild.precision.slots import slots_of
from cosybuild.precision.storage import FP16, Storage

# Largest allowed step of a phase. The error is half a step, at most 2^-11 rad, as large as the rounding of an fp16 sine
# itself.
PHASE_STEP = 2.0**-10

# Largest allowed step of a score. A rounding by half a step changes the probability by at most 6 %.
SCORE_STEP = 2.0**-3

# Operator -> bound on its result. exp(x) and similar functions overflow for inputs that are only slightly larger than
# the measured ones.
_STEEP: Mapping[str, Callable[[float], float]] = {
    "Exp": lambda high: math.exp(min(2 * high, 700.0)),
    "Softplus": lambda high: math.exp(min(high, 700.0)),
    "Mish": lambda high: math.exp(min(high, 700.0)),
}


@dataclass(frozen=True)
class View:
    """The data that the rules read.

    Attributes:
        nodes: the nodes to decide on, in graph order.
        opset: version of the default domain.
        storage: the lower type.
        ranges: tensor -> range: measured, or computed if it depends on a clipped mask.
        constants: initialiser -> facts.
        masks: the clipped mask constants.
        data_max, init_max, init_min: the limits of `PrecisionSettings`, or the type's defaults.
    """

    nodes: Sequence[ir.Node]
    opset: int
    storage: Storage
    ranges: Mapping[str, Range]
    constants: Mapping[str, ConstantFacts]
    masks: Masks
    data_max: float
    init_max: float
    init_min: float


Verdicts = Iterator[tuple[ir.Node, str]]


def types(view: View) -> Verdicts:
    """Keep operators that have no variant in the lower type."""
    for node in view.nodes:
        slots = slots_of(node, view.storage, view.opset)
        if isinstance(slots, str):
            yield node, slots


def integers(view: View) -> Verdicts:
    """Keep conversions between integers and floats, and the elementwise nodes before a conversion to integers.

    Positions and lengths grow with the input, and are exact only up to 2^11 (fp16) or 2^8 (bf16).
    """
    reason = f"integers are exact up to {view.storage.exact_integers} only in {view.storage.name}"
    for node in view.nodes:
        source = node.inputs[0] if node.op_type == "Cast" else None
        if source is None or source.dtype is ir.DataType.BOOL or node.outputs[0].dtype is ir.DataType.BOOL:
            continue
        if not is_float(source):
            yield node, reason
        elif not is_float(node.outputs[0]):
            yield node, reason
            for origin in _elementwise_sources(node):
                yield origin, reason


def phases(view: View) -> Verdicts:
    """Keep sines and cosines of large arguments, and the elementwise nodes that compute these arguments.

    Examples are 1000 t of the time embedding, and positions.
    """
    for node in view.nodes:
        if node.op_type not in ("Sin", "Cos"):
            continue
        argument = view.ranges.get(name_of(node.inputs[0])) if node.inputs[0] is not None else None
        largest = argument.max_abs if argument is not None else math.inf
        step = view.storage.step(largest) if math.isfinite(largest) else math.inf
        if step > PHASE_STEP:
            reason = f"a phase of up to {largest:.4g} rad, where {view.storage.name} has steps of {step:.2g}"
            yield node, reason
            for source in _elementwise_sources(node):
                yield source, reason


def _elementwise_sources(node: ir.Node) -> Iterator[ir.Node]:
    """Yield the nodes before `node`, up to contractions, normalisations, softmaxes, sums and the graph's inputs."""
    barriers = CONTRACTIONS | NORMALISATIONS | SOFTMAXES | SUMS
    stack, seen = [node], {node}
    while stack:
        for value in computed_inputs(stack.pop()):
            source = value.producer()
            if source is not None and source not in seen and source.op_type not in barriers:
                seen.add(source)
                stack.append(source)
                yield source


def statistics(view: View) -> Verdicts:
    """Keep sums over an axis, and the decomposed normalisations around them.

    `LayerNormalization` and similar operators are not kept: they compute their statistics in float32 for every type of
    their tensors (`stash_type`; TensorRT's normalisation layers do so by default).
    """
    for node in view.nodes:
        if node.op_type in SUMS:
            yield node, f"{node.op_type} adds up an axis"
        if node.op_type == "Sqrt" or (node.op_type == "Pow" and _is_root(node)):
            for link in _deviation_chain(node):
                yield link, "statistics of a normalisation"


def _is_root(node: ir.Node) -> bool:
    exponent = constant_of(node.inputs[1])
    return exponent is not None and exponent.size == 1 and abs(float(exponent.numpy().reshape(()))) == 0.5


def _deviation_chain(root: ir.Node) -> Iterator[ir.Node]:
    """Yield the nodes around the root of a mean of squares: the squares, the differences, the division by the root."""
    before = list(_walk_back(root))
    means = [node for node in before if node.op_type in ("ReduceMean", "ReduceSum")]
    if not means:
        return
    yield root
    yield from (node for node in before if node not in means)
    for mean in means:
        for value in computed_inputs(mean):
            square = value.producer()
            if square is not None and square.op_type in ("Pow", "Mul"):
                yield square
                makers = (value.producer() for value in computed_inputs(square))
                yield from (maker for maker in makers if maker is not None and maker.op_type == "Sub")
    for value in root.outputs:
        for user, _ in value.uses():
            if user.op_type in ("Div", "Mul", "Reciprocal"):
                yield user


def _walk_back(root: ir.Node) -> Iterator[ir.Node]:
    """Yield the nodes from a root back to its means: the sum with epsilon, moves, maxima, divisions."""
    stack = [root]
    while stack:
        for value in computed_inputs(stack.pop()):
            node = value.producer()
            if node is None:
                continue
            if node.op_type in ("ReduceMean", "ReduceSum"):
                yield node
            elif node.op_type in MOVES | {"Add", "Max", "Clip", "Div"}:
                yield node
                stack.append(node)


def softmaxes(view: View) -> Verdicts:
    """Keep softmaxes with scores of large rounding error, and all nodes from the matrix product to the softmax."""
    for node in view.nodes:
        if node.op_type not in SOFTMAXES:
            continue
        scores = scores_of(node, view.masks)
        known = view.ranges.get(name_of(scores)) if scores is not None else None
        if known is None or not math.isfinite(known.max_abs):
            continue
        step = view.storage.step(known.max_abs)
        if step > SCORE_STEP:
            reason = f"scores of up to {known.max_abs:.4g}, where {view.storage.name} has steps of {step:.2g}"
            yield node, reason
            for source in _score_sources(node):
                yield source, reason


def _score_sources(softmax: ir.Node) -> Iterator[ir.Node]:
    """Yield the nodes from a softmax back through scale and mask to the matrix product, which is included."""
    stack, seen = [softmax], {softmax}
    while stack:
        for value in computed_inputs(stack.pop()):
            source = value.producer()
            if source is None or source in seen:
                continue
            seen.add(source)
            if source.op_type in CONTRACTIONS:
                yield source
            elif source.op_type in MOVES | {"Add", "Sub", "Mul", "Div", "Where"}:
                yield source
                stack.append(source)


def steep(view: View) -> Verdicts:
    """Keep exponentials and powers that overflow for inputs slightly beyond the measured range.

    An upper bound on an exponential is kept too, so that the result is stored only after it is bounded.
    """
    for node in view.nodes:
        known = view.ranges.get(name_of(node.inputs[0])) if node.inputs and node.inputs[0] is not None else None
        if known is None:
            continue
        if node.op_type in _STEEP and (value := _STEEP[node.op_type](known.high)) > view.storage.max:
            yield node, f"the exponential of {known.high:.4g} comes too close to {view.storage.max:.4g} ({value:.3g})"
            for user, _ in node.outputs[0].uses():
                if user.op_type in ("Clip", "Min"):
                    yield user, f"bounds {name_of(node)}, which may exceed {view.storage.max:.4g}"
        exponent = constant_of(node.inputs[1]) if node.op_type == "Pow" else None
        if exponent is not None and math.isfinite(known.max_abs):
            power = float(np.max(exponent.numpy()))
            if power > 1 and 2 * known.max_abs > view.storage.max ** (1 / power):
                yield node, f"twice {known.max_abs:.4g} to the power of {power:g} exceeds {view.storage.max:.4g}"


def magnitudes(view: View) -> Verdicts:
    """Keep nodes that read or make a tensor whose measured range is too large, too small or unknown."""
    for node in view.nodes:
        for value in (*float_outputs(node), *computed_inputs(node)):
            verb = "makes" if value.producer() is node else "reads"
            known = view.ranges.get(name_of(value))
            # Masks are large on purpose; they must fit in the type, but need no margin.
            limit = view.storage.max if name_of(value) in view.masks.ranges else view.data_max
            if known is None:
                yield node, f"{verb} {value.name}, whose range was not measured"
            elif known.max_abs > limit:
                yield node, f"{verb} {value.name}, up to {known.max_abs:.4g}, above data_max {limit:g}"
            elif 0 < known.max_abs < view.storage.smallest_normal:
                yield node, f"{verb} {value.name}, at most {known.max_abs:.3g}, below the normal numbers"


def sums_of_products(view: View) -> Verdicts:
    """Keep products with constant weights whose partial sums can exceed fp16, in which engines may accumulate.

    The bound is max|x| times the largest sum of magnitudes over one output's weights. Products of two computed tensors
    have no such bound; the margin of `data_max` covers them. bfloat16 is always accumulated in float32.
    """
    if view.storage is not FP16:
        return
    for node in view.nodes:
        if node.op_type not in ("MatMul", "Gemm", "Conv", "ConvTranspose"):
            continue
        data, weight = node.inputs[0], constant_of(node.inputs[1])
        known = view.ranges.get(name_of(data)) if data is not None else None
        if weight is None or known is None:
            continue
        bound = known.max_abs * _largest_weight_sum(node, weight)
        if bound > view.storage.max:
            yield (
                node,
                f"partial sums of up to {bound:.4g} (max|x| {known.max_abs:.4g}) can exceed {view.storage.max:g}",
            )


def _largest_weight_sum(node: ir.Node, weight: ir.TensorProtocol) -> float:
    """Return the largest sum of |w| over the weights of one output element."""
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


def constants(view: View) -> Verdicts:
    """Keep nodes with a constant that exceeds `init_max`, or whose elements are all below `init_min` (an epsilon)."""
    for node in view.nodes:
        for value in float_inputs(node):
            facts = view.constants.get(name_of(value))
            if facts is None or name_of(value) in view.masks.clipped:
                continue
            if facts.max_abs > view.init_max:
                yield node, f"constant {value.name} reaches {facts.max_abs:.4g}, above init_max {view.init_max:g}"
            elif 0 < facts.max_abs < view.init_min:
                yield node, f"constant {value.name} is at most {facts.max_abs:.3g}, below init_min {view.init_min:.3g}"


def not_contractions(view: View) -> Verdicts:
    """Keep all nodes except contractions (matrix products, convolutions, attentions); for target `mixed`."""
    for node in view.nodes:
        if node.op_type not in CONTRACTIONS:
            yield node, "mixed: matrix products and convolutions only"
