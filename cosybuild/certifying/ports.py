"""Assign the inputs and outputs of an ONNX file to those of a network: by name, else by position and shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.onnxgraph.header import GraphHeader, GraphPort

_KINDS = (frozenset({"float32", "float16"}), frozenset({"int32", "int64"}))
"""Sets of types that fit each other: if the file and the network have different types of one set, values are cast."""


@dataclass(frozen=True)
class Ports:
    """The meaning of each input and output of a file.

    Attributes:
        inputs, outputs: name in the network -> input or output of the file, in the network's order.
        by_name: True if they were assigned by name, False if they were assigned by position.
        sizes: the size of each axis that is dynamic in the network and fixed in the file, by the axis's name.
        absent: the names of the network's inputs that the file does not have. An exporter may leave out an input that
            the graph does not use.
    """

    inputs: Mapping[str, GraphPort]
    outputs: Mapping[str, GraphPort]
    by_name: bool
    sizes: Mapping[str, int]
    absent: tuple[str, ...] = ()

    def facts(self) -> dict[str, dict[str, str]]:
        """Return the assignment as JSON data: name in the network -> name in the file."""
        sides = (("inputs", self.inputs), ("outputs", self.outputs))
        return {side: {own: port.name for own, port in ports.items()} for side, ports in sides}


def assign(header: GraphHeader, spec: ModelSpec) -> Ports | str:
    """Assign the inputs and outputs of a file to those of a network.

    Args:
        header: the file's inputs and outputs.
        spec: the network's inputs and outputs, with every axis dynamic that can be dynamic.

    Returns:
        The assignment; or, if they do not fit, the first reason as a phrase.
    """
    sizes: dict[str, int] = {}
    found: list[dict[str, GraphPort]] = []
    named = True
    absent: tuple[str, ...] = ()
    for side, ports, tensors in (
        ("input", header.inputs, spec.inputs),
        ("output", header.outputs, spec.outputs),
    ):
        names = {port.name: port for port in ports}
        if side == "input" and names and set(names) < {tensor.name for tensor in tensors}:
            absent = tuple(tensor.name for tensor in tensors if tensor.name not in names)
            tensors = tuple(tensor for tensor in tensors if tensor.name in names)
        if len(ports) != len(tensors):
            return f"it has {len(ports)} {side}s, and {len(tensors)} are expected"
        by_name = set(names) == {tensor.name for tensor in tensors}
        named = named and by_name
        pairs = [(names[t.name] if by_name else port, t) for port, t in zip(ports, tensors, strict=True)]
        for port, tensor in pairs:
            fault = _fault(port, tensor, sizes, side)
            if fault is not None:
                return fault
        found.append({tensor.name: port for port, tensor in pairs})
    return Ports(found[0], found[1], named, sizes, absent)


def _fault(port: GraphPort, tensor: TensorSpec, sizes: dict[str, int], side: str) -> str | None:
    where = f"{side} {port.name} ({tensor.name})"
    if port.dtype != tensor.dtype and not any({port.dtype, tensor.dtype} <= kind for kind in _KINDS):
        return f"{where} is {port.dtype}, and {tensor.dtype} is expected"
    if side == "output" and not port.shape:  # a file need not state the shape of an output
        return None
    if len(port.shape) != len(tensor.shape):
        return f"{where} has {len(port.shape)} axes, and {len(tensor.shape)} are expected"
    for axis, (size, wanted) in enumerate(zip(port.shape, tensor.shape, strict=True)):
        if not isinstance(size, int):
            continue
        if isinstance(wanted, int) or side == "output":
            known = sizes.get(wanted) if isinstance(wanted, str) else wanted
            if known not in (None, size):
                return f"{where} has {size} on axis {axis}, and {known} is expected"
        elif sizes.setdefault(wanted, size) != size:
            return f"{where} has {size} on axis {axis}, where another input has {sizes[wanted]}"
    return None


def describe_ports(tensors: Sequence[GraphPort] | Sequence[TensorSpec]) -> str:
    """Return the names, shapes and types of inputs or outputs as a text, e.g. `x (2, 80, seq_len) float32`."""
    shown = (f"{t.name} ({', '.join(str(size) if size != '' else '?' for size in t.shape)}) {t.dtype}" for t in tensors)
    return ", ".join(shown) or "none"
