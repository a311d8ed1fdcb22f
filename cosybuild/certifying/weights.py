"""Find the weights of an ONNX file from elsewhere, by the names of the network's tensors.

With them, a file that is right except for its weights can be recognised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from cosybuild.numerics.inputs import Array
from cosybuild.onnxgraph.clean import module_path
from cosybuild.onnxgraph.scopes import name_from_metadata

if TYPE_CHECKING:
    from torch import Tensor, nn

_WRAPPER = "estimator."
"""The prefix that the wrapper of an exportable estimator adds to the names of its tensors."""

_PRODUCTS = ("MatMul", "Gemm")


@dataclass(frozen=True)
class FoundWeights:
    """The weights for a PyTorch module that were found in an ONNX file.

    Attributes:
        tensors: name in the module -> values in float32.
        lacking: the names of the module's parameters for which the file has no tensor that fits. Missing buffers are
            not listed: they are computed from hyper-parameters, and an exporter may fold them into other constants.
    """

    tensors: Mapping[str, Array]
    lacking: tuple[str, ...]


def weights_of(model: ModelProto, module: nn.Module) -> FoundWeights:
    """Find the weights for a module in a graph.

    A tensor is found in one of three ways, which are tried in this order. It has the name of the module's tensor. Or a
    node reads it, and the name of the node or of the layer's bias says which layer this is. Or it has the right shape;
    then the order of the nodes decides. The result can be wrong, so the caller must compare outputs.

    Args:
        model: the graph with its weights in memory.
        module: a network, or its wrapper for the export.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    short = {name.removeprefix(_WRAPPER): name for name in wanted}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    used: set[str] = set()
    found: dict[str, Array] = {}

    turned = _transposed(model)

    def take(name: str, tensor: str) -> None:
        values = None if name in found else _fitting(constants[tensor], wanted[name], transposed=tensor in turned)
        if values is not None:
            found[name] = values
            used.add(tensor)

    for tensor in constants:
        own = _own(tensor, short)
        if own is not None:
            take(own, tensor)
    for layer, tensor in _layers(model):
        own = _own(f"{layer}.weight", short)
        if tensor in constants and tensor not in used and own is not None:
            take(own, tensor)
    owners = _owners(wanted)
    modules = {owner: owner for owner in owners}
    for scope, tensor in _read_in(model, constants):
        for name in owners.get(_own(scope, modules) or "", ()):
            if tensor not in used:
                take(name, tensor)
    # Weights on the right of a product are tried first, because an exporter may have scaled one on the left.
    rest = sorted(
        dict.fromkeys(tensor for _, tensor in _read_in(model, constants)), key=lambda name: name not in turned
    )
    for tensor in rest:
        for name in wanted:
            if tensor not in used:
                take(name, tensor)
    return FoundWeights(found, tuple(name for name, _ in module.named_parameters() if name not in found))


def copy_with_weights(module: nn.Module, found: FoundWeights) -> nn.Module:
    """Return a copy of the module with the found weights. Its other tensors are those of the module."""
    import torch

    from cosybuild.certifying.module_copies import sharing_copy

    copy = sharing_copy(module)
    for name, values in found.tensors.items():
        path, _, leaf = name.rpartition(".")
        owner = copy.get_submodule(path)
        tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        if leaf in owner._parameters:
            owner._parameters[leaf] = torch.nn.Parameter(tensor, requires_grad=False)
        else:
            owner._buffers[leaf] = tensor
    return copy


def differing_names(found: FoundWeights, state: Mapping[str, Tensor], narrow: bool) -> list[str]:
    """Return the names of the tensors whose values differ by more than rounding.

    Args:
        found: the weights of the file.
        state: the state dict with the weights of the model directory.
        narrow: True if the file's weights may be rounded to 16 bits.
    """
    names = []
    for name, values in found.tensors.items():
        own = state[name].numpy().astype(np.float32)
        bound = 2.0**-10 * np.abs(own) + 2.0**-24 if narrow else 1e-6 * np.abs(own)
        if not (np.abs(values - own) <= bound).all():
            names.append(name)
    return names


def exchange_position_biases(found: FoundWeights) -> FoundWeights | None:
    """Return the weights with `pos_bias_u` and `pos_bias_v` of each attention exchanged; None without such biases.

    The two have the same shape and layer, and exporters write them in any order, so `weights_of` may confuse them.
    """
    pairs = {"pos_bias_u": "pos_bias_v", "pos_bias_v": "pos_bias_u"}
    ends = {name: name.rpartition(".")[2] for name in found.tensors}
    if not any(end in pairs for end in ends.values()):
        return None
    tensors = {
        name: found.tensors[name.removesuffix(ends[name]) + pairs[ends[name]] if ends[name] in pairs else name]
        for name in found.tensors
    }
    return FoundWeights(tensors, found.lacking)


def _own(name: str, short: Mapping[str, str]) -> str | None:
    """Return the name in the module for a name in the file, which may begin with a wrapper's name; None if unknown.

    Args:
        name: the name in the file.
        short: name without the prefix of the exportable estimator -> name in the module.
    """
    parts = name.rpartition("/")[2].split(".")
    return next((short[tail] for i in range(len(parts)) if (tail := ".".join(parts[i:])) in short), None)


def _fitting(tensor: TensorProto, shape: tuple[int, ...], *, transposed: bool) -> Array | None:
    """Return the float32 values of a tensor in the given shape; None if they do not fit.

    Axes of size 1 are added or removed if necessary.

    Args:
        tensor: the tensor.
        shape: the shape of the result.
        transposed: True if a tensor with two axes is the transpose of the result.
    """
    try:
        array: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):  # a tensor that no node reads may be damaged
        return None
    if array.dtype.kind != "f":
        return None
    array = array.astype(np.float32)
    if transposed and array.ndim == 2:
        array = array.T
    if [size for size in array.shape if size != 1] != [size for size in shape if size != 1]:
        return None
    return array.reshape(shape)


def _transposed(model: ModelProto) -> set[str]:
    """Return the names of the constants that hold a layer's weight transposed, as matrix products read them."""
    found = set()
    for node in model.graph.node:
        if node.op_type in _PRODUCTS and len(node.input) > 1:
            straight = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            if not straight:
                found.add(node.input[1])
    return found


def _owners(wanted: Mapping[str, tuple[int, ...]]) -> dict[str, list[str]]:
    """Return the names of the tensors of each submodule, by the path of the submodule without the wrapper."""
    owners: dict[str, list[str]] = defaultdict(list)
    for name in wanted:
        owners[name.removeprefix(_WRAPPER).rpartition(".")[0]].append(name)
    return owners


def _read_in(model: ModelProto, constants: Mapping[str, TensorProto]) -> Iterator[tuple[str, str]]:
    """Yield (path of the module, name of the constant) for each node and each constant that it reads, in node order.

    Constants with fewer than two axes are left out. An exporter may write equal constants once and read the copies
    through Identity nodes, which are followed.
    """
    alias = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Identity"}
    for node in model.graph.node:
        if node.op_type == "Identity":
            continue
        for name in node.input:
            tensor = alias.get(name, name)
            if tensor in constants and len(constants[tensor].dims) > 1:
                yield module_path(name_from_metadata(node) or node.name), tensor


def _layers(model: ModelProto) -> Iterator[tuple[str, str]]:
    """Yield (path of the layer, name of the constant) for each matrix product whose layer can be determined.

    The name of the layer's bias or the name of the node says which layer it is.
    """
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    for node in model.graph.node:
        if node.op_type not in _PRODUCTS or len(node.input) < 2:
            continue
        sums = [reader for reader in readers[node.output[0]] if reader.op_type == "Add"]
        biases = [name for reader in sums for name in reader.input if name.endswith(".bias")]
        if len(biases) == 1:
            yield biases[0].removesuffix(".bias"), node.input[1]
        scope = module_path(name_from_metadata(node) or node.name)
        if scope:
            yield scope, node.input[1]
