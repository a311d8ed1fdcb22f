"""Read the inputs and outputs of an ONNX file in a model directory, whose order is known, but whose names are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cosybuild.errors import ModelError
from cosybuild.models.shape_profile import FRAMES
from cosybuild.models.spec import Axis, ModelSpec, TensorSpec
from cosybuild.onnxgraph.header import GraphPort, read_header

_INTEGERS = ("int32", "int64")


def spec_of_file(path: Path, expected: ModelSpec) -> ModelSpec:
    """Return `expected` with the names, fixed sizes and integer types of the file.

    Services pass the tensors of such files by position. If an axis is dynamic only in the file, its profile has only
    the expected size. If an axis is fixed only in the file, the result has the file's size.

    Args:
        path: the ONNX file.
        expected: the inputs and outputs in their order.

    Raises:
        ModelError: the file cannot be read, or its inputs or outputs do not fit `expected`.
    """
    try:
        header = read_header(path)
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{path} is not a complete ONNX file: {error}.",
            hint="Next: download it again, or compare its size with the original's.",
        ) from error
    sides = (("input", header.inputs, expected.inputs), ("output", header.outputs, expected.outputs))
    faults = [fault for side in sides for fault in _faults(*side)]
    if faults:
        raise ModelError(
            f"{path} is not the expected model: {'; '.join(faults)}. It has inputs {_described(header.inputs)} and "
            f"outputs {_described(header.outputs)}; expected are inputs {_described(expected.inputs)} and outputs "
            f"{_described(expected.outputs)}.",
            hint="Next: check the file; model=onnx builds any graph whose inputs and outputs you declare.",
        )
    axes = dict(expected.axes)
    inputs = tuple(_taken(port, tensor, axes) for port, tensor in zip(header.inputs, expected.inputs, strict=True))
    frozen = {
        symbol: size
        for port, tensor in zip(header.inputs, expected.inputs, strict=True)
        for size, symbol in zip(port.shape, tensor.shape, strict=True)
        if isinstance(symbol, str) and isinstance(size, int)
    }
    outputs = tuple(
        replace(tensor, name=port.name, dtype=port.dtype, shape=_output_shape(port, tensor))
        for port, tensor in zip(header.outputs, expected.outputs, strict=True)
    )
    named = {axis for tensor in inputs for axis in tensor.dynamic_axes.values()}
    return replace(
        expected,
        inputs=tuple(_of_length(tensor, frozen) for tensor in inputs),
        outputs=outputs,
        axes={symbol: axis for symbol, axis in axes.items() if symbol in named},
    )


def _faults(side: str, ports: Sequence[GraphPort], tensors: Sequence[TensorSpec]) -> Iterator[str]:
    if len(ports) != len(tensors):
        yield f"it has {len(ports)} {side}s, {len(tensors)} are expected"
        return
    for port, tensor in zip(ports, tensors, strict=True):
        where = f"{side} {port.name}"
        if not port.name.isprintable() or '"' in port.name:
            yield f"{side} {port.name!a} has a name with quotation marks or control characters"
        if port.dtype != tensor.dtype and not {port.dtype, tensor.dtype} <= {*_INTEGERS}:
            yield f"{where} is {port.dtype}, {tensor.dtype} is expected"
        if side == "output" and not port.shape:  # the file need not state the shape of an output
            continue
        if len(port.shape) != len(tensor.shape):
            yield f"{where} has {len(port.shape)} axes, {len(tensor.shape)} are expected"
            continue
        for axis, (size, wanted) in enumerate(zip(port.shape, tensor.shape, strict=True)):
            if isinstance(size, int) and isinstance(wanted, int) and size != wanted:
                yield f"{where} has {size} on axis {axis}, {wanted} is expected"


def _taken(port: GraphPort, tensor: TensorSpec, axes: dict[str, Axis]) -> TensorSpec:
    """Return an input with the name, the type and the shape of the file.

    For each axis that is dynamic only in the file, add an entry with the expected size to `axes`.
    """
    shape: list[int | str] = []
    for index, (size, wanted) in enumerate(zip(port.shape, tensor.shape, strict=True)):
        if isinstance(size, str) and isinstance(wanted, int):
            # The first axes of all inputs get the same symbol, so that they have the same size.
            symbol = "rows" if index == 0 else f"{port.name}_{index}"
            axes[symbol] = Axis(sizes=(wanted, wanted, wanted))
            shape.append(symbol)
        else:
            shape.append(size if isinstance(size, int) else wanted)
    return replace(tensor, name=port.name, dtype=port.dtype, shape=tuple(shape))


def _output_shape(port: GraphPort, tensor: TensorSpec) -> tuple[int | str, ...]:
    """Return the shape of an output: the size in the file, or the expected size or symbol if the file has no size."""
    sizes = port.shape or tensor.shape
    return tuple(size if isinstance(size, int) else wanted for size, wanted in zip(sizes, tensor.shape, strict=True))


def _of_length(tensor: TensorSpec, frozen: dict[str, int]) -> TensorSpec:
    """Return an input of lengths whose test value is the fixed number of frames, if the file fixes that number.

    Other inputs are returned unchanged.

    Args:
        tensor: the input.
        frozen: symbol of a dynamic axis of the specification -> size, for the axes that the file fixes.
    """
    if tensor.generator != "length" or FRAMES not in frozen:
        return tensor
    return replace(tensor, generator="integer", low=frozen[FRAMES], high=frozen[FRAMES] + 1)


def _described(tensors: Sequence[GraphPort | TensorSpec]) -> str:
    shown = (f"{t.name} ({', '.join(str(size) or '?' for size in t.shape)}) {t.dtype}" for t in tensors)
    return ", ".join(shown) or "none"
