"""Read the inputs and outputs of an ONNX file of any size in milliseconds, without importing onnx.

Only the fields that lead to the inputs and outputs are decoded; weights are skipped by their stated length. The field
numbers are those of onnx.proto: a model's graph is 7; a graph's initializers, inputs and outputs are 5, 11 and 12; a
value's name and type are 1 and 2; a dimension's size and symbol are 1 and 2; an initializer's name is 8.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from pathlib import Path

from cosybuild.dtypes import FROM_ONNX
from cosybuild.onnxgraph.wire import fields, map_file, text


@dataclass(frozen=True)
class GraphPort:
    """One input or output in an ONNX file.

    Attributes:
        name: its name.
        dtype: a name of `dtypes.DTYPES`; `other` for an element type without a name there.
        shape: for each axis its size or its symbol, or an empty text if the file states neither.
        kind: the kind of value: `tensor`, `sequence`, `map`, `sparse tensor`, `optional` or `other`.
        element: the number of the element type in TensorProto.DataType; 0 if the file does not state it.
        has_rank: False if the file does not state the shape; `shape` is empty then.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    kind: str = "tensor"
    element: int = field(default=0, compare=False)
    has_rank: bool = True


@dataclass(frozen=True)
class GraphHeader:
    """The inputs and outputs of a graph, in the order of the ONNX file."""

    inputs: tuple[GraphPort, ...]
    outputs: tuple[GraphPort, ...]


def read_header(path: Path) -> GraphHeader:
    """Return the inputs and outputs of an ONNX file.

    Raises:
        ValueError: the file is not an ONNX model, or it is truncated.
        OSError: the file cannot be read.
    """
    with map_file(path) as data:
        graph = next(((begin, end) for number, _, begin, end in fields(data, 0, len(data)) if number == 7), None)
        # Read all fields to the end, to find a file that is truncated within its weights.
        for _ in fields(data, 0, len(data)):
            pass
        if graph is None:
            raise ValueError("it has no graph")
        initialised: set[str] = set()
        sides: dict[int, list[GraphPort]] = {11: [], 12: []}
        for number, _, begin, end in fields(data, *graph):
            if number == 5:
                initialised.update(text(data, b, e) for n, _, b, e in fields(data, begin, end) if n == 8)
            elif number in sides:
                sides[number].append(_port(data, begin, end))
    # Before IR version 4, initializers were listed among the inputs.
    return GraphHeader(tuple(port for port in sides[11] if port.name not in initialised), tuple(sides[12]))


_NEGATIVE = 1 << 63

_KINDS = {1: "tensor", 4: "sequence", 5: "map", 8: "sparse tensor", 9: "optional"}
"""Field number in TypeProto -> kind of the value."""


def _port(data: mmap.mmap, begin: int, end: int) -> GraphPort:
    name, kind, element, shape = "", "other", 0, None
    for number, _, b, e in fields(data, begin, end):
        if number == 1:
            name = text(data, b, e)
        elif number == 2:
            for field, _, tensor_begin, tensor_end in fields(data, b, e):
                kind = _KINDS.get(field, kind)
                for part, value, part_begin, part_end in fields(data, tensor_begin, tensor_end) if field == 1 else ():
                    if part == 1:
                        element = value
                    elif part == 2:
                        shape = [_dim(data, db, de) for n, _, db, de in fields(data, part_begin, part_end) if n == 1]
    dtype = FROM_ONNX.get(element, "other")
    return GraphPort(name, dtype, tuple(shape or ()), kind, element, shape is not None)


def _dim(data: mmap.mmap, begin: int, end: int) -> int | str:
    for number, value, b, e in fields(data, begin, end):
        if number == 1:
            # Some converters write -1 for an axis of any size. It is stored as its two's complement.
            return value if value < _NEGATIVE else ""
        if number == 2:
            return text(data, b, e)
    return ""
