"""Read and write ONNX files of any size. Equal graphs are written as equal bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, TensorProto, external_data_helper

from cosybuild.onnxgraph.external import check_external_data

INLINE_LIMIT = 2**31 - 2**26
"""The largest total size, in bytes, of weights that are stored in the ONNX file itself.

A protobuf message is limited to 2 GiB, and the rest of the graph needs some of it.
"""

# In bytes. Smaller tensors always stay in the graph, because shape inference and runtimes need their values.
_SMALL = 1024

# In bytes. External data are aligned to pages, because runtimes map them into memory.
_PAGE = 4096


def load_model(path: Path) -> ModelProto:
    """Return the model with all its weights in memory, including external data.

    Raises:
        ModelError: the file is not an ONNX file, or its external data must not be read.
    """
    check_external_data(path)
    return onnx.load(str(path))


def load_structure(path: Path) -> ModelProto:
    """Return the model without its external data, for code that reads only the graph."""
    return onnx.load(str(path), load_external_data=False)


def save_model(model: ModelProto, path: Path) -> tuple[Path, ...]:
    """Write a model and return the paths of the written files, the ONNX file first.

    If the weights exceed `INLINE_LIMIT`, they are written to a second file, `<path>.data`, and are removed from `model`
    to save memory.
    """
    tensors = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= _SMALL]
    files = [path]
    if sum(len(tensor.raw_data) for tensor in tensors) > INLINE_LIMIT:
        data = path.with_name(path.name + ".data")
        _move_out(tensors, data)
        files.append(data)
    with path.open("wb") as file:
        for part in _serialised(model):
            file.write(part)
    return tuple(files)


def without_weights(model: ModelProto) -> ModelProto:
    """Return a copy of the model without its initializers. No weights are copied for that."""
    copy = ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy(copy, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _copy(copy.graph, field.name, value)
    return copy


def _copy(message: GraphProto | ModelProto, name: str, value: object) -> None:
    target = getattr(message, name)
    if hasattr(target, "extend"):
        target.extend(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)


def _serialised(model: ModelProto) -> Iterator[bytes]:
    """Yield the serialised model in pieces: as one piece, it would need as much memory as the model again."""
    rest = without_weights(model)
    graph = rest.graph.SerializeToString(deterministic=True)
    rest.ClearField("graph")
    sizes = [tensor.ByteSize() for tensor in model.graph.initializer]
    heads = [_head(GraphProto.INITIALIZER_FIELD_NUMBER, size) for size in sizes]
    yield rest.SerializeToString(deterministic=True)
    yield _head(ModelProto.GRAPH_FIELD_NUMBER, len(graph) + sum(map(len, heads)) + sum(sizes))
    yield graph
    for head, tensor in zip(heads, model.graph.initializer, strict=True):
        yield head
        yield tensor.SerializeToString(deterministic=True)


def _head(field: int, length: int) -> bytes:
    """Return the bytes in front of an embedded message: its key (with protobuf's wire type 2) and its length."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _move_out(tensors: list[TensorProto], path: Path) -> None:
    with path.open("wb") as file:
        for tensor in tensors:
            file.write(b"\0" * (-file.tell() % _PAGE))
            offset, length = file.tell(), len(tensor.raw_data)
            file.write(tensor.raw_data)
            external_data_helper.set_external_data(tensor, path.name, offset, length)
            tensor.ClearField("raw_data")
