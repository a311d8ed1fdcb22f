"""An execution context with the methods of TensorRT's class that upstream calls: set shapes and addresses, execute."""

from __future__ import annotations

import ctypes
import math
import operator
from contextlib import nullcontext
from typing import Any, Protocol

import torch

from cosybuild.dtypes import DTYPES
from cosybuild.errors import ServingError, ShapeRefused
from cosybuild.runtime.interface import OUTPUT, Interface, Shape, Shapes


class Driver(Protocol):
    """The common interface of `GraphDriver`, `EngineDriver` and `IrDriver`: run one artifact on given memory."""

    def run(self, profile: int, shapes: Shapes, addresses: dict[str, int], stream: int) -> None:
        """Run the artifact: read the inputs at their addresses, and write the output at its address.

        Args:
            profile: index of the profile that covers `shapes`.
            shapes: tensor name -> shape, for all inputs and the output.
            addresses: tensor name -> memory address, for all inputs and the output. The output overlaps no input.
            stream: handle of the CUDA stream on which the work is enqueued; 0 on the CPU and for the default stream.
        """


class Context:
    """An execution context for one thread at a time. The pool lends each context to one caller only.

    Two methods differ from TensorRT's, because upstream does not check these cases. A shape outside every profile
    raises an error, where TensorRT returns False. If the output overlaps an input in memory, the result is still
    correct.
    """

    def __init__(self, interface: Interface, driver: Driver, device: torch.device, what: str) -> None:
        self._interface = interface
        self._driver = driver
        self._device = device
        self._what = what
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        # Successive callers may use different streams. The event makes the later caller's stream wait for the earlier
        # one's work.
        self._done: Any = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]  # torch.cuda's classes have no types

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        """Set the shape of one input and return True, as TensorRT does.

        Raises:
            ShapeRefused: no profile allows the shape.
            ServingError: the artifact has no such input, or the shape is not made of whole numbers.
        """
        if name not in [port.name for port in self._interface.inputs]:
            raise ServingError(
                f"{self._what} has no input '{name}'; it has {', '.join(p.name for p in self._interface.inputs)}."
            )
        spans = [profile[name] for profile in self._interface.profiles if name in profile]
        try:
            shape = tuple(operator.index(size) for size in shape)
        except TypeError as error:
            raise ServingError(
                f"the shape of '{name}' is {shape!r}; whole numbers, one for each axis, are expected."
            ) from error
        if not any(span.holds(shape) for span in spans):
            raise shape_error({name: shape}, self._what, self._interface)
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        """Set the memory address of an input or output and return True, as TensorRT does.

        The memory must be contiguous and hold values of the artifact's type.

        Raises:
            ServingError: the artifact has no such tensor, or the address is not a positive whole number.
        """
        if name not in self._interface.names:
            raise ServingError(f"{self._what} has no tensor '{name}'; it has {', '.join(self._interface.names)}.")
        if not isinstance(address, int) or isinstance(address, bool) or address <= 0:
            raise ServingError(
                f"the address of '{name}' is {address!r}; the tensor's data_ptr(), above 0, is expected."
            )
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int = 0) -> bool:
        """Run the artifact with the shapes and addresses that were set, and return True, as TensorRT does.

        On CUDA the work is enqueued on the stream, and the call returns before the work is done.

        Raises:
            ShapeRefused: no single profile covers all inputs.
            ServingError: a shape or an address was not set, or the run failed.
        """
        missing = [name for name in self._interface.names if name not in self._addresses]
        missing += [port.name for port in self._interface.inputs if port.name not in self._shapes]
        if missing:
            raise ServingError(f"{self._what} was executed before the shape and address of {missing[0]} were set.")
        profile = self._interface.choose(self._shapes)
        if profile is None:
            raise shape_error(self._shapes, self._what, self._interface)
        shapes = {**self._shapes, OUTPUT: self._shapes["x"]}
        stream = self._stream(stream_handle)
        if stream is not None:
            stream.wait_event(self._done)
        try:
            self._run(profile, shapes, stream_handle, stream)
        finally:
            # Record the event after a failure too, because part of the work may have been enqueued.
            if stream is not None:
                self._done.record(stream)
        return True

    def clear(self) -> None:
        """Forget all shapes and addresses, so that the next caller cannot read or write this caller's memory."""
        self._shapes.clear()
        self._addresses.clear()

    def _run(self, profile: int, shapes: dict[str, Shape], handle: int, stream: Any) -> None:
        target = self._addresses[OUTPUT]
        if not self._overlaps(shapes):
            self._driver.run(profile, shapes, dict(self._addresses), handle)
            return
        # The driver may read an input after it has written output values, so it writes to a scratch buffer, which is
        # then copied.
        size = self._bytes(OUTPUT, shapes)
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            scratch = torch.empty(size, dtype=torch.uint8, device=self._device)
            self._driver.run(profile, shapes, {**self._addresses, OUTPUT: scratch.data_ptr()}, handle)
            _memory(target, size, self._device).copy_(scratch)

    def _overlaps(self, shapes: Shapes) -> bool:
        begin = self._addresses[OUTPUT]
        end = begin + self._bytes(OUTPUT, shapes)
        inputs = [port.name for port in self._interface.inputs]
        return any(
            self._addresses[name] < end and begin < self._addresses[name] + self._bytes(name, shapes) for name in inputs
        )

    def _bytes(self, name: str, shapes: Shapes) -> int:
        return math.prod(shapes[name]) * DTYPES[self._interface.dtype].size

    def _stream(self, handle: int) -> Any:
        return torch.cuda.ExternalStream(handle, device=self._device) if self._device.type == "cuda" else None  # type: ignore[no-untyped-call]  # torch.cuda's classes have no types


class EngineView:
    """Those members of TensorRT's engine class that upstream uses: the number of tensors, and their names by index."""

    def __init__(self, interface: Interface) -> None:
        self._names = interface.names

    @property
    def num_io_tensors(self) -> int:
        """The number of inputs and outputs together."""
        return len(self._names)

    def get_tensor_name(self, index: int) -> str:
        """Return the name of the tensor at an index; inputs come before the output."""
        return self._names[index]


def shape_error(shapes: Shapes, what: str, interface: Interface) -> ShapeRefused:
    """Return the error for a call with shapes that no profile covers.

    Args:
        shapes: input name -> shape, as the caller asked for them.
        what: the artifact's name, for the message.
        interface: the artifact's interface, whose profiles the message lists.
    """
    asked = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    return ShapeRefused(
        f"{what} does not serve {asked}; its profile is {interface.describe()}.",
        hint="Next: build an artifact that serves this shape (trt_profile=..., export.dynamic_batch=true) and deploy "
        "it into the directory that is loaded; or pass fallback=module to load_estimator.",
    )


class _RawMemory:
    """GPU memory at an address, with the attribute `__cuda_array_interface__` from which torch makes a tensor."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3}


def _memory(address: int, size: int, device: torch.device) -> torch.Tensor:
    """Return a uint8 tensor of `size` elements on the memory at `address`, without a copy."""
    if device.type == "cuda":
        return torch.as_tensor(_RawMemory(address, size), device=device)
    return torch.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype=torch.uint8)
