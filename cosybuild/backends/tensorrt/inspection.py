"""Facts of a parsed network: inputs and outputs, layers and operations by type, and sizes of attention matrices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.backends.tensorrt.network import fix_input_shapes, network_tensors

Shapes = Mapping[str, tuple[int, ...]]
"""Input name -> shape of the input."""

_FLOATING = {"FLOAT": 4, "HALF": 2, "BF16": 2, "FP8": 1}
_NO_ARITHMETIC = frozenset(["CONSTANT", "CAST", "SHAPE", "IDENTITY"])


@dataclass(frozen=True)
class TensorFact:
    """An input or output of a network or engine.

    Attributes:
        name: the tensor's name.
        mode: `input` or `output`.
        dtype: TensorRT's name of the type, e.g. `HALF`.
        shape: size of each axis; -1 for a dynamic axis.
    """

    name: str
    mode: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """The floating-point operations of one layer with matrix products or convolutions.

    Attributes:
        name: the layer's name.
        dtype: TensorRT's name of the type in which it computes.
        operations: number of operations; a multiplication and an addition count as two.
    """

    name: str
    dtype: str
    operations: int


@dataclass(frozen=True)
class AttentionSize:
    """The attention matrices of one size, if the axes have the largest sizes of a profile.

    Attributes:
        shape: shape of the attention scores, e.g. (2, 8, 3000, 3000).
        bytes: size in bytes of one such matrix, in the type in which it is computed.
        count: number of layers with such a matrix.
    """

    shape: tuple[int, ...]
    bytes: int
    count: int


@dataclass(frozen=True)
class NetworkFacts:
    """Facts of a parsed network. With strong typing, the engine has the same types.

    Attributes:
        tensors: inputs and outputs in binding order.
        layers: type -> number of layers that compute in it, without constants, casts and shape arithmetic.
        work: matrix products, convolutions and attention, at the opt sizes of the first profile.
        attention: for each profile, the attention matrices at its max sizes.
        largest_bytes: for each profile, the size in bytes of the largest tensor that is no attention matrix.
    """

    tensors: tuple[TensorFact, ...]
    layers: Mapping[str, int]
    work: tuple[Work, ...]
    attention: tuple[tuple[AttentionSize, ...], ...]
    largest_bytes: tuple[int, ...]

    @property
    def operations(self) -> dict[str, int]:
        """Type -> number of operations of all layers in `work` that compute in it."""
        total: Counter[str] = Counter()
        for each in self.work:
            total[each.dtype] += each.operations
        return dict(total)

    def share(self, dtype: str) -> float:
        """Return the share of the operations that are in `dtype`, 0 to 1; 0 if the network has no such operations."""
        operations = self.operations
        total = sum(operations.values())
        return operations.get(dtype, 0) / total if total else 0.0


def inspect_network(library: TensorRtLibrary, network: Any, opt: Shapes, maxima: Sequence[Shapes]) -> NetworkFacts:
    """Return the facts of a parsed network.

    Args:
        library: the library that parsed the network.
        network: the library's network object.
        opt: input shapes for which operations are counted.
        maxima: for each profile, the largest input shapes.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    inputs = network.num_inputs
    tensors = tuple(
        TensorFact(t.name, "input" if i < inputs else "output", t.dtype.name, tuple(t.shape))
        for i, t in enumerate(network_tensors(network))
    )
    with fix_input_shapes(network, opt):
        work = tuple(found for layer in layers if (found := _work(library, layer)) is not None)
    attention, largest = [], []
    for shapes in maxima:
        with fix_input_shapes(network, shapes):
            sizes = _attention(layers)
            attention.append(sizes)
            largest.append(_largest(layers, {size.shape for size in sizes}))
    return NetworkFacts(tensors, _layer_types(layers), work, tuple(attention), tuple(largest))


def _layer_types(layers: Sequence[Any]) -> dict[str, int]:
    counted = Counter(
        layer.get_output(0).dtype.name
        for layer in layers
        if layer.num_outputs and layer.type.name not in _NO_ARITHMETIC
    )
    return {dtype: count for dtype, count in counted.items() if dtype in _FLOATING}


def _work(library: TensorRtLibrary, layer: Any) -> Work | None:
    kind = layer.type.name
    if kind == "MATRIX_MULTIPLY":
        operations = _matmul_operations(library, layer)
    elif kind in ("CONVOLUTION", "DECONVOLUTION"):
        operations = _convolution_operations(library, layer, kind)
    elif kind == "ATTENTION_INPUT":
        # softmax(q k^T) v is two matrix products. Each has (B, H, Tq, Tk) elements times the channels of a head.
        operations = 4 * _elements(layer.get_input(0)) * int(tuple(layer.get_input(1).shape)[-2])
    else:
        return None
    return Work(layer.name, layer.get_input(0).dtype.name, operations)


def _elements(tensor: Any) -> int:
    return math.prod(tuple(tensor.shape))


def _matmul_operations(library: TensorRtLibrary, layer: Any) -> int:
    layer.__class__ = library.module.IMatrixMultiplyLayer  # the binding returns the base class only
    left = tuple(layer.get_input(0).shape)
    inner = int(left[-2] if layer.op0.name == "TRANSPOSE" else left[-1])
    return 2 * inner * _elements(layer.get_output(0))


def _convolution_operations(library: TensorRtLibrary, layer: Any, kind: str) -> int:
    module = library.module
    layer.__class__ = module.IConvolutionLayer if kind == "CONVOLUTION" else module.IDeconvolutionLayer
    source, result = tuple(layer.get_input(0).shape), tuple(layer.get_output(0).shape)
    taps, groups = 2 * math.prod(tuple(layer.kernel_size_nd)), int(layer.num_groups)
    if kind == "CONVOLUTION":
        # Each output value sums over the input channels of its group.
        return int(taps * math.prod(result) * source[1] // groups)
    # Each input value contributes to all output channels of its group.
    return int(taps * math.prod(source) * result[1] // groups)


def _attention(layers: Sequence[Any]) -> tuple[AttentionSize, ...]:
    """Return the attention matrices, grouped by size.

    They are the inputs of softmax layers with three or more axes, and the scores of attention layers.
    """
    found: Counter[tuple[tuple[int, ...], int]] = Counter()
    for layer in layers:
        if layer.type.name == "SOFTMAX":
            scores = layer.get_input(0)
            shape = tuple(scores.shape)
        elif layer.type.name == "ATTENTION_INPUT":
            scores = layer.get_input(0)
            shape = (*tuple(scores.shape)[:-1], tuple(layer.get_input(1).shape)[-2])
        else:
            continue
        if len(shape) >= 3:
            found[shape, math.prod(shape) * _FLOATING.get(scores.dtype.name, 4)] += 1
    return tuple(AttentionSize(shape, size, count) for (shape, size), count in sorted(found.items()))


def _largest(layers: Sequence[Any], scores: set[tuple[int, ...]]) -> int:
    """Return the size in bytes of the largest floating-point tensor that is no attention score or attention bias.

    A tensor counts as a score or bias if its last two axes have the sizes of attention scores.
    """
    square = {shape[-2:] for shape in scores}
    largest = 0
    for layer in layers:
        if layer.type.name == "CONSTANT":
            continue
        for index in range(layer.num_outputs):
            tensor = layer.get_output(index)
            shape = tuple(tensor.shape)
            if tensor.dtype.name in _FLOATING and shape[-2:] not in square:
                largest = max(largest, math.prod(shape) * _FLOATING[tensor.dtype.name])
    return largest
