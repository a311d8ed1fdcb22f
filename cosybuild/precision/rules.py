"""What is known to break below fp32: each rule names nodes and says why, and none of them changes the graph."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from cosybuild.errors import PrecisionError
from cosybuild.onnxgraph.clean import module_path
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

# The error of a phase is half the distance between neighbouring arguments: at most 2^-11 rad, which is
# what an fp16 sine is rounded by anyway.
PHASE_STEP = 2.0**-10

# A score rounded by half this step changes its probability by at most 6 %.
SCORE_STEP = 2.0**-3

# exp(x), x^n and their like leave the range for inputs little larger than those measured.
_STEEP: Mapping[str, Callable[[float], float]] = {
    "Exp": lambda high: math.exp(min(2 * high, 700.0)),
    "Softplus": lambda high: math.exp(min(high, 700.0)),
    "Mish": lambda high: math.exp(min(high, 700.0)),
}


@dataclass(frozen=True)
class View:
    """All that the rules look at.

    Attributes:
        nodes: the nodes to be decided, in graph order.
        ranges: tensor -> range, as measured, and behind clipped masks as computed.
        constants: initialiser -> facts.
        data_max, init_max, init_min: as in `PrecisionSettings`, with the type's own figures filled in.
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
    """An operator that the type does not exist for."""
    for node in view.nodes:
        slots = slots_of(node, view.storage, view.opset)
        if isinstance(slots, str):
            yield node, slots


def patterns(view: View, globs: Sequence[str]) -> Verdicts:
    """What the user keeps."""
    for glob in globs:
        for node in matching(view.nodes, glob):
            yield node, f"precision.keep_fp32={glob}"


def matching(nodes: Sequence[ir.Node], glob: str) -> list[ir.Node]:
    """The nodes whose name, module path or operator the pattern matches.

    Raises:
        PrecisionError: there is none; a pattern without effect is a mistake.
    """
    matched = [node for node in nodes if any(fnmatch.fnmatchcase(text, glob) for text in _texts(node))]
    if not matched:
        kinds = ", ".join(sorted({node.op_type for node in nodes}))
        raise PrecisionError(
            f"precision.keep_fp32 has the pattern '{glob}', which matches no node's name, module path or operator "
            f"(operators here: {kinds}).",
            hint="Next: node names and module paths stand in the report of a run, under precision.",
        )
    return matched


def literal(name: str) -> str:
    """The pattern that matches this name."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _texts(node: ir.Node) -> tuple[str, str, str]:
    return name_of(node), module_path(name_of(node)), node.op_type


def integers(view: View) -> Verdicts:
    """Positions and lengths: they grow with the input, and are exact up to 2^11 (fp16) or 2^8 (bf16) only."""
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
    """Arguments of sine and cosine, back to where they begin: 1000 t of the time embedding, positions."""
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
    """Everything before `node` up to matrix products, normalisations, softmaxes and the graph's inputs."""
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
    """Sums over an axis, and the decomposed normalisations around them.

    `LayerNormalization` and its like are not meant: they compute their statistics in float32 whatever
    their tensors are (`stash_type`; TensorRT's normalisation layers do so by default).
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
    """From a root over a mean of squares: the squares, the differences, and the division by the root."""
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
    """The short way from a root back to its means: the sum with epsilon, shapes, maxima."""
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
    """Scores so large that their rounding shows: then the whole way from the matrix product stays."""
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
    """Back from a softmax through scale and mask to the matrix product, which is included."""
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
    """Exponentials and powers that overflow soon after what was measured."""
    for node in view.nodes:
        known = view.ranges.get(name_of(node.inputs[0])) if node.inputs and node.inputs[0] is not None else None
        if known is None:
            continue
        if node.op_type in _STEEP and (value := _STEEP[node.op_type](known.high)) > view.storage.max:
            yield node, f"the exponential of {known.high:.4g} comes too close to {view.storage.max:.4g} ({value:.3g})"
        exponent = constant_of(node.inputs[1]) if node.op_type == "Pow" else None
        if exponent is not None and math.isfinite(known.max_abs):
            power = float(np.max(exponent.numpy()))
            if power > 1 and 2 * known.max_abs > view.storage.max ** (1 / power):
                yield node, f"twice {known.max_abs:.4g} to the power of {power:g} exceeds {view.storage.max:.4g}"


def magnitudes(view: View) -> Verdicts:
    """Tensors that calibration found too large, or so small that they vanish."""
    for node in view.nodes:
        for value in (*float_outputs(node), *computed_inputs(node)):
            verb = "makes" if value.producer() is node else "reads"
            known = view.ranges.get(name_of(value))
            # Masks are as large as they are on purpose; they must fit, and need no margin.
            limit = view.storage.max if name_of(value) in view.masks.ranges else view.data_max
            if known is None:
                yield node, f"{verb} {value.name}, whose range was not measured"
            elif known.max_abs > limit:
                yield node, f"{verb} {value.name}, up to {known.max_abs:.4g}, above data_max {limit:g}"
            elif 0 < known.max_abs < view.storage.smallest_normal:
                yield node, f"{verb} {value.name}, nowhere above {known.max_abs:.3g}: digits vanish"


def sums_of_products(view: View) -> Verdicts:
    """Products with constant weights whose partial sums can leave fp16, which engines may accumulate in.

    Bounded by max|x| times the largest sum of magnitudes over one output's weights. Products of two
    computed tensors have no such bound; the margin of `data_max` stands for them. bfloat16 is always
    accumulated in float32.
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
    """The largest sum of |w| that one output element is made with."""
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
    """Constants that do not fit, or vanish as a whole (an epsilon)."""
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
    """`mixed`: only matrix products and convolutions are lowered."""
    for node in view.nodes:
        if node.op_type not in CONTRACTIONS:
            yield node, "mixed: matrix products and convolutions only"
