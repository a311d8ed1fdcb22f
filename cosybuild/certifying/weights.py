"""The weights of a file under the names of our network, so that a file with other weights can be recognised."""

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
"""The prefix of the names of tensors in an exportable estimator."""

_PRODUCTS = ("MatMul", "Gemm")


@dataclass(frozen=True)
class FoundWeights:
    """The weights that a file has for a module.

    Attributes:
        tensors: name in the module -> values in float32.
        lacking: parameters of the module for which the file has no tensor that fits. Buffers follow from
            hyper-parameters, and an exporter may fold them into other constants.
    """

    tensors: Mapping[str, Array]
    lacking: tuple[str, ...]


def weights_of(model: ModelProto, module: nn.Module) -> FoundWeights:
    """Return the file's weights for a module.

    A tensor is found by its name; else by the layer of the node that reads it, which its bias or the node's name tells;
    the rest by shape, in the order of the nodes. A comparison of outputs must decide if the result is right.

    Args:
        model: the file with its weights in memory.
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
    # A weight on the right of a product comes first: one on its left may have been scaled.
    rest = sorted(
        dict.fromkeys(tensor for _, tensor in _read_in(model, constants)), key=lambda name: name not in turned
    )
    for tensor in rest:
        for name in wanted:
            if tensor not in used:
                take(name, tensor)
    return FoundWeights(found, tuple(name for name, _ in module.named_parameters() if name not in found))


def copy_with_weights(module: nn.Module, found: FoundWeights) -> nn.Module:
    """Return a copy of the module with these weights; tensors that are not in `found` stay."""
    import torch

    from cosybuild.certifying.copies import sharing_copy

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
    """Return the names whose values differ from the directory's, beyond rounding to float16 if `narrow`."""
    names = []
    for name, values in found.tensors.items():
        own = state[name].numpy().astype(np.float32)
        bound = 2.0**-10 * np.abs(own) + 2.0**-24 if narrow else 1e-6 * np.abs(own)
        if not (np.abs(values - own) <= bound).all():
            names.append(name)
    return names


def exchange_position_biases(found: FoundWeights) -> FoundWeights | None:
    """Return the weights with the two position biases of each attention exchanged; None if there are none.

    They have one shape and one layer, and exporters write them in either order.
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
    """Convert a tensor's name in the file, which may begin with the name of a wrapper, to its name in the module."""
    parts = name.rpartition("/")[2].split(".")
    return next((short[tail] for i in range(len(parts)) if (tail := ".".join(parts[i:])) in short), None)


def _fitting(tensor: TensorProto, shape: tuple[int, ...], *, transposed: bool) -> Array | None:
    """Return the values in a shape, removing axes of size 1 if necessary; None if they do not fit."""
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
    """Return the constants that a matrix product reads as the transpose of a layer's weight."""
    found = set()
    for node in model.graph.node:
        if node.op_type in _PRODUCTS and len(node.input) > 1:
            straight = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            if not straight:
                found.add(node.input[1])
    return found


def _owners(wanted: Mapping[str, tuple[int, ...]]) -> dict[str, list[str]]:
    """Return module path, without the wrapper -> names of the module's own tensors, in order."""
    owners: dict[str, list[str]] = defaultdict(list)
    for name in wanted:
        owners[name.removeprefix(_WRAPPER).rpartition(".")[0]].append(name)
    return owners


def _read_in(model: ModelProto, constants: Mapping[str, TensorProto]) -> Iterator[tuple[str, str]]:
    """Yield (module, constant) for each constant with several axes that a node reads, in the order of the nodes.

    An exporter writes equal constants once, and reads the others through Identity.
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
    """Yield (layer, name of the constant that a matrix product of the layer reads), as far as the file names layers."""
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
