"""Loading of a TensorRT or TensorRT-RTX engine, and the driver that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cosybuild.dtypes import DTYPES, FLOATS, FROM_TENSORRT
from cosybuild.errors import ArtifactRefused, ServingError
from cosybuild.lazy import require
from cosybuild.runtime.interface import Interface, Port, Shapes, Span


class EngineDriver:
    """One execution context of an engine. Each context has its own activation memory."""

    def __init__(self, context: Any, interface: Interface, what: str) -> None:
        self._context = context
        self._interface = interface
        self._what = what
        # A new context has profile 0 selected.
        self._profile = 0

    def run(self, profile: int, shapes: Shapes, addresses: dict[str, int], stream: int) -> None:
        """Run the engine; see `context.Driver.run`."""
        if profile != self._profile:
            self._must(self._context.set_optimization_profile_async(profile, stream), f"accept profile {profile}")
            self._profile = profile
        for port in self._interface.inputs:
            shape = shapes[port.name]
            self._must(self._context.set_input_shape(port.name, shape), f"accept the shape {shape} for '{port.name}'")
        for name, address in addresses.items():
            self._must(self._context.set_tensor_address(name, address), f"accept an address for '{name}'")
        self._must(self._context.execute_async_v3(stream), "start")

    def _must(self, done: bool, what: str) -> None:
        if not done:
            raise ServingError(
                f"{self._what}: the engine does not {what}.",
                hint="Next: the reason is in the log of TensorRT, on standard error.",
            )


def open_engine(
    path: Path, library: str, device: torch.device, count: int
) -> tuple[Interface, list[EngineDriver], list[Any]]:
    """Load an engine so that `count` callers can run it at the same time.

    Args:
        path: the engine file.
        library: the Python module that loads the engine, `tensorrt` or `tensorrt_rtx`.
        device: the CUDA device.
        count: number of execution contexts.

    Returns:
        The interface, one driver for each context, and one CUDA stream for each context.

    Raises:
        MissingRequirement: the Python module is not installed.
        ArtifactRefused: the library cannot load the file with its version on this GPU, or there is not enough GPU
            memory for a context.
    """
    trt = require(library, f"Serving {path.name}")
    with torch.cuda.device(device):
        engine = _deserialised(trt, path)
        interface = interface_of(trt, engine, path)
        drivers = []
        for index in range(count):
            context = engine.create_execution_context()
            if context is None:
                raise ArtifactRefused(
                    f"{path}: there is not enough memory for execution context {index + 1} of {count} on {device}.",
                    hint=f"Next: load with concurrency={max(1, index)}, or build a smaller profile.",
                )
            drivers.append(EngineDriver(context, interface, path.name))
        return interface, drivers, [torch.cuda.Stream(device) for _ in range(count)]  # type: ignore[no-untyped-call]  # torch.cuda's classes have no types


def interface_of(trt: Any, engine: Any, path: Path) -> Interface:
    """Return the inputs, outputs and profiles of a deserialised engine.

    Args:
        trt: the Python module `tensorrt` or `tensorrt_rtx`.
        engine: the engine object of that module.
        path: the engine file, for the error.

    Raises:
        ArtifactRefused: a tensor has a type other than float32, float16 and bfloat16.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    ports = {name: _port(engine, name, path) for name in names}
    profiles = tuple(
        {name: _span(engine, name, index) for name in inputs} for index in range(engine.num_optimization_profiles)
    )
    outputs = tuple(ports[name] for name in names if name not in inputs)
    return Interface(tuple(ports[name] for name in inputs), outputs, profiles)


def _deserialised(trt: Any, path: Path) -> Any:
    logger = trt.Logger(trt.Logger.WARNING)
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise ArtifactRefused(
            f"{path}: {trt.__name__} {trt.__version__} does not deserialise it; its log says why.",
            hint=f"Next: python -m cosybuild check {path}",
        )
    return engine


def _port(engine: Any, name: str, path: Path) -> Port:
    dtype = engine.get_tensor_dtype(name).name
    known = FROM_TENSORRT.get(dtype)
    if known not in FLOATS:
        raise ArtifactRefused(
            f"{path}: '{name}' is {dtype}; an estimator has {', '.join(DTYPES[each].tensorrt for each in FLOATS)}."
        )
    return Port(name, known, tuple(None if size < 0 else int(size) for size in engine.get_tensor_shape(name)))


def _span(engine: Any, name: str, index: int) -> Span:
    smallest, _, largest = engine.get_tensor_profile_shape(name, index)
    return Span(tuple(int(size) for size in smallest), tuple(int(size) for size in largest))
