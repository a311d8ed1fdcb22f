"""Loading of an ONNX graph into ONNX Runtime, and the driver that runs it on the caller's memory, on CPU or CUDA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cosybuild.dtypes import DTYPES, FLOATS, FROM_ONNXRUNTIME
from cosybuild.errors import ArtifactRefused, MissingRequirement
from cosybuild.lazy import require
from cosybuild.runtime.interface import Interface, Port, Shapes, free_profile
from cosybuild.runtime.session import CPU_PROVIDER, converted_errors, cpu_session, open_session, session_options

_CUDA = "CUDAExecutionProvider"


class GraphDriver:
    """An ONNX Runtime session that one caller at a time runs."""

    def __init__(
        self, session: Any, interface: Interface, device: torch.device, stream: Any, options: Any, what: str
    ) -> None:
        self._what = what
        self._session = session
        self._interface = interface
        self._device = device
        self._stream = stream
        self._options = options

    def run(self, profile: int, shapes: Shapes, addresses: dict[str, int], stream: int) -> None:
        """Run the graph; see `context.Driver.run`."""
        binding = self._session.io_binding()
        place = (self._device.type, self._device.index or 0)
        for port in self._interface.inputs:
            binding.bind_input(
                port.name, *place, DTYPES[port.dtype].onnx, list(shapes[port.name]), addresses[port.name]
            )
        for port in self._interface.outputs:
            binding.bind_output(
                port.name, *place, DTYPES[port.dtype].onnx, list(shapes[port.name]), addresses[port.name]
            )
        if self._stream is None:
            self._run(binding)
            return
        # The session computes on the stream that it got when it was created. Events order this work with the caller's
        # stream.
        caller = torch.cuda.ExternalStream(stream, device=self._device)  # type: ignore[no-untyped-call]  # torch.cuda's classes have no types
        self._stream.wait_stream(caller)
        self._run(binding)
        caller.wait_stream(self._stream)

    def _run(self, binding: Any) -> None:
        with converted_errors(f"the run of {self._what}"):
            self._session.run_with_iobinding(binding, self._options)


def open_graph(
    path: Path, device: torch.device, count: int, threads: int
) -> tuple[Interface, list[GraphDriver], list[Any]]:
    """Load a graph so that `count` callers can run it at the same time.

    On the CPU all callers share one session. On CUDA each caller has a session with a stream of its own, because ONNX
    Runtime ties a session to one stream. The weights are therefore loaded `count` times.

    Args:
        path: the ONNX file.
        device: `cpu` or a CUDA device.
        count: number of callers at a time.
        threads: CPU threads of one run; 0 leaves the number to ONNX Runtime.

    Returns:
        The interface, one driver for each caller, and one CUDA stream for each caller (an empty list on the CPU).

    Raises:
        MissingRequirement: ONNX Runtime or its CUDA provider does not load on this machine.
        ArtifactRefused: ONNX Runtime does not load the file, or a tensor has a type other than float32, float16 and
            bfloat16.
    """
    if device.type != "cuda":
        session = cpu_session(path, threads)
        interface = _interface(session, path)
        return interface, [GraphDriver(session, interface, device, None, None, path.name) for _ in range(count)], []
    ort = require("onnxruntime", "Serving an ONNX graph")
    streams = [torch.cuda.Stream(device) for _ in range(count)]  # type: ignore[no-untyped-call]  # torch.cuda's classes have no types
    run_options = ort.RunOptions()
    # CUDA streams keep the order of the work. If the host waited for each run, the caller could not enqueue more work.
    run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    drivers = []
    for stream in streams:
        provider = {"device_id": str(device.index or 0), "user_compute_stream": str(stream.cuda_stream)}
        session = open_session(ort, path, session_options(ort, threads), [(_CUDA, provider), CPU_PROVIDER])
        if _CUDA not in session.get_providers():
            raise MissingRequirement(
                f"ONNX Runtime {ort.__version__} does not load its {_CUDA} here, and device={device} needs it.",
                hint="Next: install onnxruntime-gpu with its CUDA and cuDNN libraries, or load with device='cpu'.",
            )
        interface = _interface(session, path)
        drivers.append(GraphDriver(session, interface, device, stream, run_options, path.name))
    return interface, drivers, streams


def _interface(session: Any, path: Path) -> Interface:
    inputs, outputs = (
        tuple(_port(node, path) for node in side) for side in (session.get_inputs(), session.get_outputs())
    )
    return Interface(inputs, outputs, (free_profile(inputs),))


def _port(node: Any, path: Path) -> Port:
    known = FROM_ONNXRUNTIME.get(node.type)
    if known not in FLOATS:
        raise ArtifactRefused(
            f"{path}: '{node.name}' is {node.type}; "
            f"an estimator has {', '.join(DTYPES[each].onnxruntime for each in FLOATS)}."
        )
    return Port(node.name, known, tuple(size if isinstance(size, int) else None for size in node.shape))
