"""Facts of a parsed network: its tensors, layers and arithmetic by type, and the size of its attention matrices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.backends.tensorrt.network import fix_input_shapes, network_tensors

Shapes = Mapping[str, tuple[int, ...]]
"""Input name -> shape."""

_FLOATING = {"FLOAT": 4, "HALF": 2, "BF16": 2, "FP8": 1}
_NO_ARITHMETIC = frozenset(["CONSTANT", "CAST", "SHAPE", "IDENTITY"])


@dataclass(frozen=True)
class TensorFact:
    """An input or output as the engine binds it; `shape` has -1 for dynamic axes."""

    name: str
    mode: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """The matrix arithmetic of one layer; a multiplication with an addition counts as two operations."""

    name: str
    dtype: str
    operations: int


@dataclass(frozen=True)
class AttentionSize:
    """The attention matrices of one size, at the largest sizes of a profile.

    Attributes:
        shape: shape of the scores, e.g. (2, 8, 3000, 3000).
        bytes: size of one such matrix in the type in which it is computed.
        count: number of layers that have one.
    """

    shape: tuple[int, ...]
    bytes: int
    count: int


@dataclass(frozen=True)
class NetworkFacts:
    """The facts of a parsed network; with strong typing the engine has the same types.

    Attributes:
        tensors: inputs and outputs in binding order.
        layers: type -> number of layers that compute in it, without constants, casts and shape arithmetic.
        work: matrix products, convolutions and attention at the first profile's opt sizes.
        attention: for each profile, the attention matrices at its max sizes.
        largest_bytes: for each profile, the bytes of the largest tensor that is no attention matrix.
    """

    tensors: tuple[TensorFact, ...]
    layers: Mapping[str, int]
    work: tuple[Work, ...]
    attention: tuple[tuple[AttentionSize, ...], ...]
    largest_bytes: tuple[int, ...]

    @property
    def operations(self) -> dict[str, int]:
        """The operations of matrix arithmetic by type."""
        total: Counter[str] = Counter()
        for each in self.work:
            total[each.dtype] += each.operations
        return dict(total)

    def share(self, dtype: str) -> float:
        """Return the share of matrix arithmetic in `dtype`, 0 to 1; 0 if the network has no matrix arithmetic."""
        operations = self.operations
        total = sum(operations.values())
        return operations.get(dtype, 0) / total if total else 0.0


def inspect_network(library: TensorRtLibrary, network: Any, opt: Shapes, maxima: Sequence[Shapes]) -> NetworkFacts:
    """Return the facts of a parsed network.

    Args:
        library: the library that parsed it.
        network: the network.
        opt: input shapes for which arithmetic is counted.
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
        # softmax(q k^T) v is two matrix products: (B, H, Tq, Tk) elements times the channels of a head.
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
    """Return the attention matrices by size: inputs of softmax with three or more axes, and of attention layers."""
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
    """Return the size in bytes of the largest floating-point tensor, without attention scores and attention biases.

    A tensor counts as one of these if it has the last two sizes of attention scores.
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
