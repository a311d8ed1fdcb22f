"""ONNX Runtime sessions for serving. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cosybuild.errors import ArtifactRefused, ServingError
from cosybuild.lazy import require

CPU_PROVIDER = "CPUExecutionProvider"

_REFUSALS = (
    "EPFail",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NotImplemented",
    "RuntimeException",
)


def cpu_session(path: Path, threads: int) -> Any:
    """Load an ONNX file into an ONNX Runtime session on the CPU.

    Args:
        path: the ONNX file.
        threads: CPU threads of one run; 0 leaves the number to ONNX Runtime.

    Raises:
        MissingRequirement: ONNX Runtime is not installed or does not load on this machine.
        ArtifactRefused: ONNX Runtime cannot load the file.
    """
    ort = require("onnxruntime", "Serving an ONNX graph")
    return open_session(ort, path, session_options(ort, threads), [CPU_PROVIDER])


def session_options(ort: Any, threads: int) -> Any:
    """Return session options for runs on `threads` CPU threads whose input lengths differ from call to call."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Lengths differ between calls, so memory patterns do not repeat, and the arena would grow and never shrink.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    return options


def open_session(ort: Any, path: Path, options: Any, providers: Sequence[Any]) -> Any:
    """Create a session for an ONNX file.

    Args:
        ort: the Python module `onnxruntime`.
        path: the ONNX file.
        options: the session options.
        providers: execution providers in order of preference.

    Raises:
        ArtifactRefused: ONNX Runtime does not load the file.
    """
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except _errors(ort) as error:
        raise ArtifactRefused(
            f"ONNX Runtime {ort.__version__} does not load {path}: {_reason(error)}",
            hint=f"Next: python -m cosybuild check {path}",
        ) from error


def run_session(session: Any, name: str, inputs: Mapping[str, Any]) -> list[Any]:
    """Run a session and return its outputs in the order of the graph.

    Args:
        session: a session of `cpu_session`, or an `IrSession`.
        name: the graph's name, for the error.
        inputs: input name -> array.

    Raises:
        ServingError: ONNX Runtime ended the run; the message has the shapes of the inputs and ONNX Runtime's reason.
    """
    shapes = ", ".join(f"{key} {values.shape}" for key, values in inputs.items())
    with converted_errors(f"the run of {name} with {shapes}"):
        outputs: list[Any] = session.run(None, dict(inputs))
    return outputs


@contextmanager
def converted_errors(what: str) -> Iterator[None]:
    """Turn an error of ONNX Runtime in the `with` block into a ServingError.

    Args:
        what: the call, for the error.
    """
    # A run with bound memory raises a plain RuntimeError.
    known: tuple[type[Exception], ...] = (*_errors(require("onnxruntime", "Serving an ONNX graph")), RuntimeError)
    try:
        yield
    except known as error:
        raise ServingError(f"ONNX Runtime ended {what}: {_reason(error)}") from error


def _errors(ort: Any) -> tuple[type[Exception], ...]:
    """Return the exceptions with which ONNX Runtime refuses a graph or ends a run."""
    state = ort.capi.onnxruntime_pybind11_state
    return tuple(getattr(state, name) for name in _REFUSALS)


def _reason(error: Exception) -> str:
    """Return the last line of ONNX Runtime's message, which states the reason."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "no reason given")
