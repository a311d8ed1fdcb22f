"""Find the tables, such as token embeddings, that inputs of a graph index, without importing onnx.

The number of rows of such a table limits the values of the input, e.g. of token ids. The field numbers are those of
onnx.proto: a node's inputs, outputs, operator and attributes are 1, 2, 4 and 5; an attribute's name, integer and tensor
are 1, 3 and 5; a tensor's dimensions and name are 1 and 8.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cosybuild.onnxgraph.wire import fields, map_file, text, varints

_SAME_VALUES = {"Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Flatten", "Slice", "Expand"}
_SAME_TABLE = {"Cast", "Identity", "DequantizeLinear"}
# Operator -> pairs (number of the input with the table, number of the input with the indices).
_LOOKUPS = {"Gather": ((0, 1),), "EmbedLayerNormalization": ((2, 0), (4, 1))}


@dataclass(frozen=True)
class _Node:
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axis: int
    constant: tuple[int, ...] | None


def table_sizes(path: Path, inputs: Collection[str]) -> dict[str, int]:
    """Return the number of rows of the smallest table that each input indexes; other inputs are left out.

    Args:
        path: the ONNX file.
        inputs: the names of the inputs to look at.

    Raises:
        ValueError: the file is not an ONNX model, or it is truncated.
        OSError: the file cannot be read.
    """
    with map_file(path) as data:
        graph = next(((begin, end) for number, _, begin, end in fields(data, 0, len(data)) if number == 7), None)
        if graph is None:
            return {}
        tables: dict[str, tuple[int, ...]] = {}
        for number, _, begin, end in fields(data, *graph):
            if number == 5:
                name, shape = _tensor(data, begin, end)
                tables[name] = shape
        source = {name: name for name in inputs}
        found: dict[str, int] = {}
        for number, _, begin, end in fields(data, *graph):
            if number == 1:
                _follow(_node(data, begin, end), source, tables, found)
    return found


def _follow(node: _Node, source: dict[str, str], tables: dict[str, tuple[int, ...]], found: dict[str, int]) -> None:
    for out in node.outputs[:1]:
        if node.constant is not None:
            tables[out] = node.constant
        elif node.operator in _SAME_VALUES and node.inputs[:1] and node.inputs[0] in source:
            source[out] = source[node.inputs[0]]
        elif node.operator in _SAME_TABLE and node.inputs[:1] and node.inputs[0] in tables:
            tables[out] = tables[node.inputs[0]]
    for table, indices in _LOOKUPS.get(node.operator, ()):
        if len(node.inputs) <= max(table, indices):
            continue
        name, shape = source.get(node.inputs[indices]), tables.get(node.inputs[table], ())
        if name is not None and -len(shape) <= node.axis < len(shape):
            rows = shape[node.axis]
            found[name] = min(rows, found.get(name, rows))


def _node(data: mmap.mmap, begin: int, end: int) -> _Node:
    inputs: list[str] = []
    outputs: list[str] = []
    operator, axis, constant = "", 0, None
    for number, _, b, e in fields(data, begin, end):
        if number == 1:
            inputs.append(text(data, b, e))
        elif number == 2:
            outputs.append(text(data, b, e))
        elif number == 4:
            operator = text(data, b, e)
        elif number == 5:
            name, whole, shape = _attribute(data, b, e)
            axis = whole if name == "axis" else axis
            constant = shape if name == "value" and shape is not None else constant
    return _Node(operator, tuple(inputs), tuple(outputs), axis, constant if operator == "Constant" else None)


def _attribute(data: mmap.mmap, begin: int, end: int) -> tuple[str, int, tuple[int, ...] | None]:
    name, whole, shape = "", 0, None
    for number, value, b, e in fields(data, begin, end):
        if number == 1:
            name = text(data, b, e)
        elif number == 3:
            whole = value - 2**64 if value >= 2**63 else value
        elif number == 5:
            shape = _tensor(data, b, e)[1]
    return name, whole, shape


def _tensor(data: mmap.mmap, begin: int, end: int) -> tuple[str, tuple[int, ...]]:
    name = ""
    shape: list[int] = []
    for number, _, b, e in fields(data, begin, end):
        if number == 8:
            name = text(data, b, e)
        elif number == 1:
            shape += varints(data, b, e)
    return name, tuple(shape)
