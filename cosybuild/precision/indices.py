"""The rule for computed indices, such as speech tokens: all arithmetic that computes an index must stay in float32."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Set

import onnx_ir as ir

from cosybuild.precision.graph import CONTRACTIONS, NORMALISATIONS, computed_inputs, is_float
from cosybuild.precision.masks import SOFTMAXES
from cosybuild.precision.rules import RuleInputs, Verdicts

_SEARCHES = ("ArgMax", "ArgMin")


def indices(given: RuleInputs) -> Verdicts:
    """Keep in float32 all nodes from the last matrix product before an index to that index, both included.

    The reason: to find the nearest entry of a codebook, a network compares distances that are differences of large
    numbers. A scalar quantiser adds powers of its number of levels, which are exact only up to 2^11 in fp16 and 2^8 in
    bf16.
    """
    for node in given.nodes:
        source = node.inputs[0] if node.inputs else None
        made = node.outputs[0]
        is_cast = node.op_type == "Cast" and not is_float(made) and made.dtype is not ir.DataType.BOOL
        if source is None or not is_float(source) or not (is_cast or node.op_type in _SEARCHES):
            continue
        yield node, "makes an index"
        for before in _arithmetic_before(node):
            yield before, "is the arithmetic of an index"


def _arithmetic_before(node: ir.Node) -> Iterator[ir.Node]:
    """Yield the nodes before `node`, back to the data that the last matrix product before it reads."""
    product = next((source for source in _walk(node, set()) if source.op_type in CONTRACTIONS), None)
    yield from _walk(node, set() if product is None else set(_origins(product)))


def _walk(node: ir.Node, data: Set[ir.Value]) -> Iterator[ir.Node]:
    """Yield the nodes before `node`, nearest first, back to `data`.

    The walk also ends at a matrix product, which is yielded, and before a normalisation or softmax, which is not.
    """
    waiting, seen = deque([node]), {node}
    while waiting:
        for value in computed_inputs(waiting.popleft()):
            source = None if value in data else value.producer()
            if source is None or source in seen or source.op_type in NORMALISATIONS | SOFTMAXES:
                continue
            seen.add(source)
            yield source
            if source.op_type not in CONTRACTIONS:
                waiting.append(source)


def _origins(product: ir.Node) -> Iterator[ir.Value]:
    """Yield the data input of a matrix product, and each value from which it comes by operators with one input only."""
    for value in computed_inputs(product):
        source: ir.Node | None = product
        while source is not None:
            yield value
            source = value.producer()
            before = [] if source is None or source.op_type in CONTRACTIONS else computed_inputs(source)
            if len(before) != 1:
                break
            value = before[0]
