"""Rewrite a graph for TensorRT: split the joint projection of q, k and v by columns instead of by heads.

The exported graph reshapes and transposes the joint projection and then splits it by heads. This needs the fewest nodes
and is the fastest variant in ONNX Runtime, but TensorRT then copies q, k and v. If the split directly follows the
matrix product, TensorRT computes three products instead, and copies nothing (CosyVoice 2 in fp16 at 3000 frames, sm_89:
42 MB of activations instead of 51 MB).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from cosybuild.onnxgraph.summary import graphs_of

# The permutation of a Transpose that exchanges the axes of frames and heads.
_HEADS_FIRST = [0, 2, 1, 3]
_PRODUCTS = ("MatMul", "Gemm")


@dataclass(frozen=True)
class _Chain:
    """Four nodes: a matrix product, a Reshape to (B, T, heads, width), a Transpose, and a Split over the heads.

    No other node reads their intermediate results.

    Attributes:
        product: the node MatMul or Gemm.
        reshape: the node Reshape.
        transpose: the node Transpose.
        split: the node Split.
        heads: number of heads in each output of the Split.
        width: channels of a head.
        target: the target shape of the Reshape if it is a constant, else None.
    """

    product: NodeProto
    reshape: NodeProto
    transpose: NodeProto
    split: NodeProto
    heads: tuple[int, ...]
    width: int
    target: tuple[int, ...] | None


def split_columns(model: ModelProto) -> int:
    """Rewrite every chain of MatMul, Reshape, Transpose and Split over heads in place, and return their number.

    After the rewrite, the last axis of the product (heads * width) is split first, and each result is reshaped and
    transposed separately. The values are bitwise equal. A chain is not changed if another node reads one of its
    intermediate results.
    """
    graph = model.graph
    chains = list(_chains(graph))
    if chains:
        opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        writer = _Writer(graph, opset)
        replaced = {id(chain.split): writer.parts(chain) for chain in chains}
        dropped = {id(node) for chain in chains for node in (chain.reshape, chain.transpose)}
        nodes: list[NodeProto] = []
        for node in graph.node:
            if id(node) not in dropped:
                nodes += replaced.get(id(node), [node])
        kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        graph.ClearField("node")
        graph.node.extend(kept)
    return len(chains)


def has_split_heads(model: ModelProto) -> bool:
    """Return True if `split_columns` would change the graph. Its external data need not be loaded."""
    return next(_chains(model.graph), None) is not None


def _chains(graph: GraphProto) -> Iterator[_Chain]:
    readers = Counter(name for node in _all_nodes(graph) for name in node.input)
    readers.update(value.name for value in graph.output)
    makers = {name: node for node in graph.node for name in node.output}
    constants = _constants(graph)
    for split in graph.node:
        if split.op_type != "Split" or _attribute(split, "axis", 0) != 1:
            continue
        transpose = makers.get(split.input[0])
        if transpose is None or transpose.op_type != "Transpose" or _attribute(transpose, "perm", []) != _HEADS_FIRST:
            continue
        reshape = makers.get(transpose.input[0])
        if reshape is None or reshape.op_type != "Reshape" or _attribute(reshape, "allowzero", 0):
            continue
        product = makers.get(reshape.input[0])
        between = (reshape.input[0], transpose.input[0], split.input[0])
        if product is None or product.op_type not in _PRODUCTS or any(readers[name] != 1 for name in between):
            continue
        chain = _measured(_Chain(product, reshape, transpose, split, (), 0, None), constants, makers)
        if chain is not None:
            yield chain


def _measured(chain: _Chain, constants: Mapping[str, TensorProto], makers: Mapping[str, NodeProto]) -> _Chain | None:
    """Return a copy of the chain with `heads`, `width` and `target` set; None if a size cannot be determined."""
    if len(chain.split.input) < 2 or chain.split.input[1] not in constants:
        return None
    heads = tuple(int(n) for n in numpy_helper.to_array(constants[chain.split.input[1]]))
    shape_name, target = chain.reshape.input[1], None
    if shape_name in constants:
        target = tuple(int(n) for n in numpy_helper.to_array(constants[shape_name]))
        if len(target) != 4 or 0 in target:
            return None
        total, width = target[2:]
    else:
        # With a dynamic batch, a Concat computes the target shape, and only its last two sizes are constants.
        concat = makers.get(shape_name)
        if concat is None or concat.op_type != "Concat":
            return None
        parts = [numpy_helper.to_array(constants[name]).tolist() for name in concat.input if name in constants]
        tail = [int(n) for part in parts for n in part][-2:]
        if len(tail) != 2 or concat.input[-1] not in constants:
            return None
        total, width = tail
    if width <= 0 or total != sum(heads):
        return None
    return _Chain(chain.product, chain.reshape, chain.transpose, chain.split, heads, width, target)


class _Writer:
    """Makes the new nodes of a graph, and adds the constants that they need; equal constants are added once."""

    def __init__(self, graph: GraphProto, opset: int) -> None:
        self._graph = graph
        self._opset = opset
        self._made: dict[tuple[int, ...], str] = {}
        self._targets: dict[tuple[str, int], str] = {}
        self._taken = {name for node in graph.node for name in (*node.input, *node.output)}

    def parts(self, chain: _Chain) -> list[NodeProto]:
        """Return the nodes that replace a chain's Split: a Split of columns, then one Reshape and Transpose each."""
        name = chain.split.name or chain.split.output[0]
        columns = [self._name(f"{name}_columns_{index}") for index in range(len(chain.heads))]
        sizes = self._constant(tuple(count * chain.width for count in chain.heads))
        nodes = [helper.make_node("Split", [chain.reshape.input[0], sizes], columns, name, axis=-1)]
        for index, (count, output) in enumerate(zip(chain.heads, chain.split.output, strict=True)):
            shape = self._shape(chain, count, nodes)
            framed = self._name(f"{name}_frames_{index}")
            nodes.append(helper.make_node("Reshape", [columns[index], shape], [framed], f"{name}/Reshape_{index}"))
            nodes.append(
                helper.make_node("Transpose", [framed], [output], f"{name}/Transpose_{index}", perm=_HEADS_FIRST)
            )
        return nodes

    def _shape(self, chain: _Chain, count: int, nodes: list[NodeProto]) -> str:
        """Return the name of a tensor that holds the target shape (B, T, count, width) of a Reshape.

        If the target shape of the chain is not a constant, append to `nodes` the node that computes the tensor.

        Args:
            chain: the chain.
            count: the number of heads.
            nodes: the new nodes of the graph.
        """
        if chain.target is not None:
            return self._constant((*chain.target[:2], count, chain.width))
        total = sum(chain.heads)
        assert total % count == 0
        source = chain.reshape.input[1]
        key = (source, count)
        if key not in self._targets:
            self._targets[key] = self._name(f"{source}_of_{count}_heads")
            divisor = self._constant((1, 1, total // count, 1))
            nodes.append(helper.make_node("Div", [source, divisor], [self._targets[key]], self._targets[key]))
        return self._targets[key]

    def _constant(self, values: tuple[int, ...]) -> str:
        if values not in self._made:
            name = self._name("heads_" + "_".join(str(value).replace("-", "m") for value in values))
            self._graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
            self._made[values] = name
        return self._made[values]

    def _name(self, wanted: str) -> str:
        name = wanted
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _constants(graph: GraphProto) -> dict[str, TensorProto]:
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return found


def _all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for nested in graphs_of(node):
            yield from _all_nodes(nested)


def _attribute(node: NodeProto, name: str, default: object) -> object:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default
