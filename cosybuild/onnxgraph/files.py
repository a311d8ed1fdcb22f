"""ONNX files of any size, written so that equal graphs are equal bytes."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, external_data_helper

from cosybuild.onnxgraph import INLINE_LIMIT

# Tensors below this size stay in the graph: shape inference and runtimes want the small ones at hand.
_SMALL = 1024

# Runtimes map external data into memory, which goes by pages.
_PAGE = 4096


def load_model(path: Path) -> ModelProto:
    """The model with its weights in memory, wherever they were stored."""
    return onnx.load(str(path))


def load_structure(path: Path) -> ModelProto:
    """The model without the bytes of its external data: enough to look at the graph."""
    return onnx.load(str(path), load_external_data=False)


def save_model(model: ModelProto, path: Path, *, inline_limit: int = INLINE_LIMIT) -> tuple[Path, ...]:
    """Write `model` and return the files, the graph first.

    The second file, `<path>.data`, is there only where the weights exceed `inline_limit` bytes. The
    weights are then moved out of `model`, so that they are not held twice.
    """
    tensors = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= _SMALL]
    files = [path]
    if sum(len(tensor.raw_data) for tensor in tensors) > inline_limit:
        data = path.with_name(path.name + ".data")
        _move_out(tensors, data)
        files.append(data)
    with path.open("wb") as file:
        file.write(model.SerializeToString(deterministic=True))
    return tuple(files)


def _move_out(tensors: list[TensorProto], path: Path) -> None:
    with path.open("wb") as file:
        for tensor in tensors:
            file.write(b"\0" * (-file.tell() % _PAGE))
            offset, length = file.tell(), len(tensor.raw_data)
            file.write(tensor.raw_data)
            external_data_helper.set_external_data(tensor, path.name, offset, length)
            tensor.ClearField("raw_data")
