"""OpenVINO IRs for serving on the CPU, compiled for the precision in which each IR was verified."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cosybuild.backends.openvino.compiling import HINTS, CompiledIr, compile_ir, dtype_name, reason_of
from cosybuild.backends.openvino.requirements import FIELD
from cosybuild.dtypes import DTYPES
from cosybuild.errors import ArtifactRefused, ServingError
from cosybuild.lazy import require
from cosybuild.runtime.interface import Interface, Port, Profile, Shapes, Span

Array = np.ndarray[Any, np.dtype[Any]]

COMPUTED_IN = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Precision of an IR, as its manifest names it -> the type in which OpenVINO then computes matrix products."""
_SHARED = ("float32", "float16")
"""The types of tensors that OpenVINO can read and write in the caller's memory through a numpy array."""


class IrDriver:
    """One inference request of a compiled IR. One caller at a time may run it."""

    def __init__(self, openvino: Any, request: Any, interface: Interface, what: str) -> None:
        self._openvino = openvino
        self._request = request
        self._interface = interface
        self._what = what

    def run(self, profile: int, shapes: Shapes, addresses: dict[str, int], stream: int) -> None:
        """Run the IR; see `context.Driver.run`."""
        try:
            for port in self._interface.inputs:
                memory = _view(addresses[port.name], shapes[port.name], port.dtype)
                self._request.set_tensor(port.name, self._openvino.Tensor(memory, shared_memory=True))
            self._request.infer()
            made = {port.name: self._request.get_tensor(port.name).data for port in self._interface.outputs}
        except RuntimeError as error:
            raise ServingError(f"OpenVINO ended the run of {self._what}: {reason_of(error)}") from error
        # OpenVINO allocates the outputs. If an output has another shape than memory that it was given, OpenVINO leaves
        # this memory unchanged and reports no error.
        for port in self._interface.outputs:
            values, shape = made[port.name], tuple(shapes[port.name])
            if values.shape != shape:
                raise ServingError(
                    f"{self._what} computed {port.name} with the shape {values.shape}; {shape} is expected.",
                    hint="Next: run the build again and deploy it again.",
                )
            _view(addresses[port.name], shape, port.dtype)[...] = values


def compiled_ir(path: Path, manifest: Mapping[str, Any], threads: int, streams: int) -> tuple[Any, CompiledIr]:
    """Compile an IR for the CPU, and return the Python module `openvino` and the compiled model.

    Args:
        path: the .xml file of the IR.
        manifest: the IR's manifest, which states its precision.
        threads: CPU threads of one run; 0 leaves the number to OpenVINO.
        streams: number of runs that OpenVINO can execute at the same time.

    Raises:
        MissingRequirement: OpenVINO is not installed or does not load.
        ArtifactRefused: OpenVINO does not compile the IR, or would compute in another type than that of the
            verification.
    """
    openvino = require("openvino", f"Serving {path.name}")
    precision = manifest[FIELD]["precision"]
    try:
        compiled = compile_ir(openvino, path, precision, threads, streams)
        chosen = str(compiled.model.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    except RuntimeError as error:
        raise ArtifactRefused(
            f"OpenVINO {openvino.__version__} does not load {path}: {reason_of(error)}",
            hint=f"Next: python -m cosybuild check {path}",
        ) from error
    if compiled.variables:
        raise ArtifactRefused(
            f"{path} is refused: it has {compiled.variables} variables, which keep values from one call to the next; "
            "no variables are expected.",
            hint="Next: run the build again and deploy it again.",
        )
    if chosen != HINTS[precision]:
        raise ArtifactRefused(
            f"{path} was verified in {precision}, and OpenVINO would compute in {chosen} on this processor.",
            hint="Next: build with ov=fp32, or load the .onnx file.",
        )
    return openvino, compiled


def open_ir(path: Path, manifest: Mapping[str, Any], count: int, threads: int) -> tuple[Interface, list[IrDriver]]:
    """Load an IR so that `count` callers can run it at the same time.

    Args:
        path: the .xml file of the IR.
        manifest: the IR's manifest.
        count: number of callers at a time.
        threads: CPU threads of one run; 0 leaves the number to OpenVINO.

    Returns:
        The interface, with the profiles that the manifest states, and one driver for each caller.

    Raises:
        MissingRequirement: OpenVINO is not installed or does not load.
        ArtifactRefused: see `compiled_ir`; or the manifest does not state the profiles.
    """
    openvino, compiled = compiled_ir(path, manifest, threads, count)
    sides = (compiled.inputs, compiled.model.inputs), (compiled.outputs, compiled.model.outputs)
    inputs, outputs = (tuple(_port(*pair, path) for pair in zip(*side, strict=True)) for side in sides)
    try:
        profiles = _profiles(manifest)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactRefused(
            f"{path} is refused: its manifest does not state the profiles of its inputs ({error!r:.200}).",
            hint="Next: run the build again and deploy it again.",
        ) from error
    interface = Interface(inputs, outputs, profiles)
    return interface, [
        IrDriver(openvino, compiled.model.create_infer_request(), interface, path.name) for _ in range(count)
    ]


def _profiles(manifest: Mapping[str, Any]) -> tuple[Profile, ...]:
    ports = manifest["interface"]["inputs"]
    profiles = manifest["profiles"]
    if not profiles:
        raise ValueError("there is no profile")
    return tuple({port["name"]: _span(port["shape"], sizes) for port in ports} for sizes in profiles)


def _span(shape: Sequence[int | str], sizes: Mapping[str, Sequence[int]]) -> Span:
    """Return the range of shapes of an input in a profile. `sizes` gives (min, opt, max) for each symbol of `shape`."""
    ranges = [(axis, axis) if isinstance(axis, int) else _range(sizes[axis]) for axis in shape]
    return Span(tuple(low for low, _ in ranges), tuple(high for _, high in ranges))


def _range(sizes: Any) -> tuple[int, int]:
    if not isinstance(sizes, list) or [type(size) for size in sizes] != [int] * 3 or sizes != sorted(sizes):
        raise ValueError(f"a size is {sizes!r}; the integers min, opt and max are expected")
    return sizes[0], sizes[2]


def _port(name: str, port: Any, path: Path) -> Port:
    dtype = dtype_name(port.element_type)
    if dtype not in _SHARED:
        raise ArtifactRefused(f"{path}: '{name}' is {dtype}; {' or '.join(_SHARED)} is expected.")
    shape = tuple(None if axis.is_dynamic else int(axis.get_length()) for axis in port.partial_shape)
    return Port(name, dtype, shape)


def _view(address: int, shape: Sequence[int], dtype: str) -> Array:
    """Return a numpy array on the memory at `address`, without a copy."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
    result: Array = memory.view(dtype).reshape(shape)
    return result


@dataclass(frozen=True)
class IrPort:
    """One input or output, with the attributes of ONNX Runtime's `NodeArg`: `type` is such as `tensor(float)`."""

    name: str
    type: str
    shape: tuple[int | str, ...]


class IrSession:
    """A compiled IR with those methods of an ONNX Runtime session that `BuiltPart` calls.

    Any number of threads may call it.
    """

    def __init__(self, path: Path, openvino: Any, compiled: CompiledIr) -> None:
        self._name = path.name
        self._openvino = openvino
        self._compiled = compiled
        self._idle: list[Any] = []

    def get_inputs(self) -> list[IrPort]:
        """Return a description of each input, in binding order."""
        return _described(self._compiled.inputs, self._compiled.model.inputs)

    def get_outputs(self) -> list[IrPort]:
        """Return a description of each output, in binding order."""
        return _described(self._compiled.outputs, self._compiled.model.outputs)

    def run(self, outputs: None, inputs: Mapping[str, Array]) -> list[Array]:
        """Run the IR and return all outputs, in binding order.

        Args:
            outputs: always None, which asks for all outputs, as in ONNX Runtime.
            inputs: input name -> array.

        Raises:
            ServingError: the run failed; the message has the shapes of the inputs and OpenVINO's reason.
        """
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.model.create_infer_request()
        try:
            for name, values in inputs.items():
                request.set_tensor(name, self._openvino.Tensor(np.ascontiguousarray(values).reshape(values.shape)))
            request.infer()
            return [request.get_tensor(name).data.copy() for name in self._compiled.outputs]
        except RuntimeError as error:
            shapes = ", ".join(f"{key} {values.shape}" for key, values in inputs.items())
            raise ServingError(f"OpenVINO ended the run of {self._name} with {shapes}: {reason_of(error)}") from error
        finally:
            self._idle.append(request)


def ir_session(path: Path, manifest: Mapping[str, Any], threads: int) -> IrSession:
    """Load an IR as a session that is called with numpy arrays.

    Args:
        path: the .xml file of the IR.
        manifest: the IR's manifest.
        threads: CPU threads of one run; 0 leaves the number to OpenVINO.

    Raises:
        MissingRequirement, ArtifactRefused: see `compiled_ir`.
    """
    return IrSession(path, *compiled_ir(path, manifest, threads, streams=1))


def _described(names: Sequence[str], ports: Sequence[Any]) -> list[IrPort]:
    found = []
    for name, port in zip(names, ports, strict=True):
        axes = enumerate(port.partial_shape)
        shape = tuple(f"axis{number}" if axis.is_dynamic else int(axis.get_length()) for number, axis in axes)
        found.append(IrPort(name, DTYPES[dtype_name(port.element_type)].onnxruntime, shape))
    return found
