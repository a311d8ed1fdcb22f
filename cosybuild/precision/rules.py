"""The rules that decide which nodes stay in fp32. Each rule yields (node, reason); no rule changes the graph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from cosybuild.precision.constants import ConstantFacts
from cosybuild.precision.graph import (
    CONTRACTIONS,
    MOVES,
    NORMALISATIONS,
    SUMS,
    computed_inputs,
    constant_of,
    is_float,
    name_of,
)
from cosybuild.precision.masks import SOFTMAXES, Masks, scores_of
from cosybuild.precision.ranges import Range
from cosybuild.precision.slots import slots_of
from cosybuild.precision.storage import Storage

# Largest allowed distance between neighbouring numbers at a phase. The rounding error is half of it, at most 2^-11 rad,
# as large as the rounding error of an fp16 sine itself.
PHASE_STEP = 2.0**-10

# Largest allowed distance between neighbouring numbers at a score. A rounding error of half of it changes the
# probability by at most 6 %.
SCORE_STEP = 2.0**-3


@dataclass(frozen=True)
class RuleInputs:
    """The data that every rule reads.

    Attributes:
        nodes: the nodes to decide on, in graph order.
        opset: opset version of the default domain.
        storage: the 16-bit type.
        ranges: tensor -> range: measured, or computed if the tensor depends on a clipped mask.
        constants: initialiser -> the number of its elements that the 16-bit type cannot represent.
        masks: the mask constants.
        data_max, init_max, init_min: the limits of `PrecisionSettings`; if not set, the defaults of the 16-bit type.
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


def types(given: RuleInputs) -> Verdicts:
    """Keep in float32 the nodes whose operator has no variant in the 16-bit type."""
    for node in given.nodes:
        slots = slots_of(node, given.storage, given.opset)
        if isinstance(slots, str):
            yield node, slots


def integers(given: RuleInputs) -> Verdicts:
    """Keep in float32 the casts between integers and floats, and the elementwise nodes before a cast to integers.

    Positions and lengths grow with the input, and integers are exact only up to 2^11 in fp16 and 2^8 in bf16.
    """
    reason = f"integers are exact up to {given.storage.exact_integers} only in {given.storage.name}"
    for node in given.nodes:
        source = node.inputs[0] if node.op_type == "Cast" else None
        if source is None or source.dtype is ir.DataType.BOOL or node.outputs[0].dtype is ir.DataType.BOOL:
            continue
        if not is_float(source):
            yield node, reason
        elif not is_float(node.outputs[0]):
            yield node, reason
            for origin in _elementwise_sources(node):
                yield origin, reason


def phases(given: RuleInputs) -> Verdicts:
    """Keep in float32 the sines and cosines of large arguments, and the nodes that compute these arguments.

    Examples of such arguments are 1000 t of the time embedding, and positions.
    """
    for node in given.nodes:
        if node.op_type not in ("Sin", "Cos"):
            continue
        argument = given.ranges.get(name_of(node.inputs[0])) if node.inputs[0] is not None else None
        largest = argument.max_abs if argument is not None else math.inf
        step = given.storage.step(largest) if math.isfinite(largest) else math.inf
        if step > PHASE_STEP:
            reason = f"a phase of up to {largest:.4g} rad, where {given.storage.name} has steps of {step:.2g}"
            yield node, reason
            for source in _elementwise_sources(node):
                yield source, reason


def _elementwise_sources(node: ir.Node) -> Iterator[ir.Node]:
    """Yield the nodes before `node`, back to contractions, normalisations, softmaxes, sums and the graph's inputs."""
    barriers = CONTRACTIONS | NORMALISATIONS | SOFTMAXES | SUMS
    stack, seen = [node], {node}
    while stack:
        for value in computed_inputs(stack.pop()):
            source = value.producer()
            if source is not None and source not in seen and source.op_type not in barriers:
                seen.add(source)
                stack.append(source)
                yield source


def statistics(given: RuleInputs) -> Verdicts:
    """Keep in float32 sums over an axis, and the nodes of normalisations that the graph contains in decomposed form.

    `LayerNormalization` and similar operators are not kept: they compute their statistics in float32 whatever type
    their tensors have (`stash_type`; TensorRT's normalisation layers do so by default).
    """
    for node in given.nodes:
        if node.op_type in SUMS:
            yield node, f"{node.op_type} adds up an axis"
        if node.op_type == "Sqrt" or (node.op_type == "Pow" and _is_root(node)):
            for link in _deviation_chain(node):
                yield link, "statistics of a normalisation"


def _is_root(node: ir.Node) -> bool:
    exponent = constant_of(node.inputs[1])
    return exponent is not None and exponent.size == 1 and abs(float(exponent.numpy().reshape(()))) == 0.5


def _deviation_chain(root: ir.Node) -> Iterator[ir.Node]:
    """Yield the nodes of a decomposed normalisation around its square root `root`.

    They are the squares, the differences, the nodes between mean and root, and the division by the root.
    """
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
    """Yield the nodes from a square root back to the means under it.

    They are the addition of epsilon, moves, maxima and divisions, and the difference of a variance that is computed as
    the mean of squares minus the square of the mean, as Flax does. Its terms are almost equal, so that rounding them
    leaves few digits.
    """
    stack, seen = [root], {root}
    while stack:
        for value in computed_inputs(stack.pop()):
            node = value.producer()
            if node is None or node in seen:
                continue
            seen.add(node)
            if node.op_type in ("ReduceMean", "ReduceSum"):
                yield node
            elif node.op_type in MOVES | {"Add", "Sub", "Max", "Clip", "Div"} or _is_scale_or_square(node):
                yield node
                stack.append(node)


def _is_scale_or_square(node: ir.Node) -> bool:
    if node.op_type == "Pow":
        exponent = constant_of(node.inputs[1])
        return exponent is not None and exponent.size == 1 and float(exponent.numpy().reshape(())) == 2
    if node.op_type != "Mul":
        return False
    return node.inputs[0] is node.inputs[1] or any(constant_of(value) is not None for value in node.inputs)


def softmaxes(given: RuleInputs) -> Verdicts:
    """Keep in float32 each softmax whose scores would be rounded too coarsely, back to the scores' matrix product."""
    for node in given.nodes:
        if node.op_type not in SOFTMAXES:
            continue
        scores = scores_of(node, given.masks)
        known = given.ranges.get(name_of(scores)) if scores is not None else None
        if known is None or not math.isfinite(known.max_abs):
            continue
        step = given.storage.step(known.max_abs)
        if step > SCORE_STEP:
            reason = f"scores of up to {known.max_abs:.4g}, where {given.storage.name} has steps of {step:.2g}"
            yield node, reason
            for source in _score_sources(node):
                yield source, reason


def _score_sources(softmax: ir.Node) -> Iterator[ir.Node]:
    """Yield the nodes before a softmax, back through scale and mask to the matrix product, which is included."""
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


def not_contractions(given: RuleInputs) -> Verdicts:
    """Keep in float32 all nodes but contractions (matrix products, convolutions, attentions), for target `mixed`."""
    for node in given.nodes:
        if node.op_type not in CONTRACTIONS:
            yield node, "mixed: matrix products and convolutions only"
