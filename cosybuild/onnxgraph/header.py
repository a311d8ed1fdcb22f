"""Inputs and outputs of an ONNX file of any size, read in milliseconds without onnx and without its weights.

Likewise the names of the files in which weights above 2 GB lie. Only the fields that lead to them are decoded;
weights are stepped over by their stated length. Field numbers are those of onnx.proto: a model's graph is 7, a
graph's initializers, inputs and outputs are 5, 11 and 12, a value's name and type 1 and 2, a dimension's size and
symbol 1 and 2, an initializer's name 8.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# TensorProto.DataType
_DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 16: "bfloat16"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Message -> field number -> the message in it, along every way that leads to a tensor's external data.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_MODEL = _MESSAGES["model"]
_DEEPEST = 100

_Field = tuple[int, int, int, int]  # number, varint's value, begin, end


@dataclass(frozen=True)
class GraphPort:
    """One input or output; an axis is its size, its symbol, or an empty text where the file says nothing."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphHeader:
    """What a caller sees of a graph, in the file's order."""

    inputs: tuple[GraphPort, ...]
    outputs: tuple[GraphPort, ...]


def read_header(path: Path) -> GraphHeader:
    """Inputs and outputs of an ONNX file.

    Raises:
        ValueError: the file is no ONNX model, or it was cut off.
        OSError: it cannot be read.
    """
    if path.stat().st_size == 0:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        graph = next(((begin, end) for number, _, begin, end in _fields(data, 0, len(data)) if number == 7), None)
        # Reading to the end first: a file that was cut off within its weights must not pass.
        for _ in _fields(data, 0, len(data)):
            pass
        if graph is None:
            raise ValueError("it holds no graph")
        initialised: set[str] = set()
        sides: dict[int, list[GraphPort]] = {11: [], 12: []}
        for number, _, begin, end in _fields(data, *graph):
            if number == 5:
                initialised.update(_text(data, b, e) for n, _, b, e in _fields(data, begin, end) if n == 8)
            elif number in sides:
                sides[number].append(_port(data, begin, end))
    # Before IR version 4 initialisers were listed among the inputs.
    return GraphHeader(tuple(port for port in sides[11] if port.name not in initialised), tuple(sides[12]))


def external_locations(path: Path) -> set[str]:
    """Names of the files outside an ONNX file in which its tensors lie; those of constants in nodes too.

    Raises:
        ValueError: the file is no ONNX model, or it was cut off.
        OSError: it cannot be read.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return set(_locations(data, _MODEL, 0, len(data), 0))


def _locations(data: mmap.mmap, fields: Mapping[int, str], begin: int, end: int, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError(f"its graphs are nested more than {_DEEPEST} deep")
    for number, _, b, e in _fields(data, begin, end):
        kind = fields.get(number)
        if kind == "entry":
            entry = {n: _text(data, x, y) for n, _, x, y in _fields(data, b, e) if n in (1, 2)}
            if entry.get(1) == "location":
                yield entry.get(2, "")
        elif kind is not None:
            yield from _locations(data, _MESSAGES[kind], b, e, depth + 1)


def _port(data: mmap.mmap, begin: int, end: int) -> GraphPort:
    name, dtype, shape = "", "other", []
    for number, _, b, e in _fields(data, begin, end):
        if number == 1:
            name = _text(data, b, e)
        elif number == 2:
            for kind, _, tensor_begin, tensor_end in _fields(data, b, e):
                if kind != 1:  # a sequence, an optional ...
                    continue
                for part, value, part_begin, part_end in _fields(data, tensor_begin, tensor_end):
                    if part == 1:
                        dtype = _DTYPES.get(value, "other")
                    elif part == 2:
                        shape = [_dim(data, db, de) for n, _, db, de in _fields(data, part_begin, part_end) if n == 1]
    return GraphPort(name, dtype, tuple(shape))


def _dim(data: mmap.mmap, begin: int, end: int) -> int | str:
    for number, value, b, e in _fields(data, begin, end):
        if number == 1:
            return value
        if number == 2:
            return _text(data, b, e)
    return ""


def _fields(data: mmap.mmap, begin: int, end: int) -> Iterator[_Field]:
    """The fields of one message."""
    at = begin
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        value, start = 0, at
        if kind == _VARINT:
            value, at = _varint(data, at, end)
        elif kind == _BYTES:
            length, start = _varint(data, at, end)
            at = start + length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"it is no ONNX file: unknown encoding at byte {start}")
        if number == 0 or at > end:
            raise ValueError(
                "it is no ONNX file" if number == 0 else f"it was cut off: byte {at} is stated, {end} is the end"
            )
        yield number, value, start, at


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError(f"it was cut off at byte {end}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"it is no ONNX file: no number ends at byte {at}")


def _text(data: mmap.mmap, begin: int, end: int) -> str:
    return data[begin:end].decode("utf-8", "replace")
