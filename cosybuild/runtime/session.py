"""ONNX Runtime sessions with the options for serving. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosybuild.errors import ArtifactRefused
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
    """Return an ONNX Runtime session on the CPU.

    Args:
        path: the ONNX file.
        threads: CPU threads of one run; 0 leaves the number to ONNX Runtime.

    Raises:
        MissingRequirement: ONNX Runtime does not load here.
        ArtifactRefused: ONNX Runtime does not load the file.
    """
    ort = require("onnxruntime", "Serving an ONNX graph")
    return open_session(ort, path, session_options(ort, threads), [CPU_PROVIDER])


def session_options(ort: Any, threads: int) -> Any:
    """Return options for calls of changing lengths on `threads` CPU threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Lengths differ between calls, so memory patterns do not repeat, and the arena would grow and never shrink.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    return options


def open_session(ort: Any, path: Path, options: Any, providers: Sequence[Any]) -> Any:
    """Return a session of a graph; `providers` are in order of preference.

    Raises:
        ArtifactRefused: ONNX Runtime does not load the file.
    """
    state = ort.capi.onnxruntime_pybind11_state
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except tuple(getattr(state, name) for name in _REFUSALS) as error:
        reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "no reason given")
        raise ArtifactRefused(
            f"ONNX Runtime {ort.__version__} does not load {path}: {reason}",
            hint=f"Next: python -m cosybuild check {path}",
        ) from error
