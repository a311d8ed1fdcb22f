"""The build of an engine file from an ONNX file, with TensorRT or TensorRT-RTX."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.backends.tensorrt.builder_config import ShapeProfile, configure
from cosybuild.backends.tensorrt.features import check_module
from cosybuild.backends.tensorrt.inspection import NetworkFacts, inspect_network
from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.backends.tensorrt.log import BuilderLog, logger_into
from cosybuild.backends.tensorrt.network import create_network, parse_into, rearrange_heads
from cosybuild.backends.tensorrt.progress import Progress, monitor_into, run_watched
from cosybuild.backends.tensorrt.timing_cache import TimingCache
from cosybuild.building.stage import Emit
from cosybuild.config.groups.trt import TrtSettings
from cosybuild.errors import EngineError
from cosybuild.system.heap import trim_heap

_SCRATCH = "Next: raise trt.workspace_gib, or lower the profile's max (trt_profile)."
_HINTS = {
    "workspace limit": _SCRATCH,
    "OutOfMemory": _SCRATCH,
    "FP32 GEMM is not supported": "Next: precision=fp16; the library has no fp32 matrix kernels for Turing (sm_75).",
    "graph_jit.cpp": "Next: build on a machine with a GPU; refit and strip compile kernels there.",
    "no CUDA-capable device": "Next: build on a machine with a GPU, or use trt.backend=tensorrt_rtx.",
    "cudaError 35": "Next: build on a machine with a GPU, or use trt.backend=tensorrt_rtx.",
}


@dataclass(frozen=True)
class BuiltEngine:
    """An engine file, with facts that are known without loading it.

    Attributes:
        path: the file.
        facts: facts of the parsed network.
        log: the builder's log.
        parse_seconds: wall time of parsing, in seconds.
        build_seconds: wall time of building, in seconds.
    """

    path: Path
    facts: NetworkFacts
    log: BuilderLog
    parse_seconds: float
    build_seconds: float


def build_engine(
    library: TensorRtLibrary,
    graph: Path,
    engine: Path,
    settings: TrtSettings,
    *,
    precision: str,
    sm: int | None,
    profiles: Sequence[ShapeProfile],
    timing: TimingCache | None = None,
    emit: Emit = lambda kind, **facts: None,
) -> BuiltEngine:
    """Build the engine file `engine` from the ONNX file `graph`.

    Args:
        library: the library that builds.
        graph: the ONNX file. With strong typing, the engine has the types of the graph.
        engine: path of the engine file to write.
        settings: the settings of the configuration group `trt`.
        precision: the precision to which the graph was lowered. It sets the flag TF32, and FP16 or BF16 with weak
            typing.
        sm: the compute capability times ten to build for ahead of time; None builds for the GPU of this machine.
        profiles: for each optimisation profile the shapes of all inputs; empty if all axes are fixed.
        timing: the timing cache, which is read and extended; None for no cache.
        emit: function that reports the builder's progress.

    Raises:
        ConfigurationError: this version of the library lacks a feature that a setting needs.
        EngineError: the parser or the builder failed; no file is written.
    """
    check_module(settings, precision, library)
    log = BuilderLog()
    logger = logger_into(library.module, log)
    builder = library.module.Builder(logger)
    if builder is None:
        raise _failure(library, engine, "does not start", log)
    network = create_network(library, builder, settings.typing)
    with rearrange_heads(graph, engine.parent) as readable:
        begun = time.perf_counter()
        parser = parse_into(library, network, readable, logger, log)
        parsed = time.perf_counter()
        config = configure(library, builder, log, settings, precision=precision, sm=sm, profiles=profiles)
        facts = _facts(library, network, profiles)
        if timing is not None:
            timing.read_into(config)
        progress = Progress()
        monitor = monitor_into(library.module, progress)
        if monitor is not None:
            config.progress_monitor = monitor
        serialized = run_watched(
            lambda: builder.build_serialized_network(network, config), progress, emit, _housekeeping(library)
        )
        built = time.perf_counter()
        del parser  # not deleted earlier, because it owns the weights that the build reads
    if serialized is None or serialized.nbytes == 0:
        raise _failure(library, engine, "built nothing", log)
    engine.write_bytes(memoryview(serialized))
    if timing is not None:
        timing.update_from(config)
    return BuiltEngine(engine, facts, log, parsed - begun, built - parsed)


def _housekeeping(library: TensorRtLibrary) -> Callable[[], None]:
    """Return the function that is called during the build to return freed heap, such as copies of weights, to the OS.

    If the builder times kernels, the function does nothing: trimming the heap blocks the allocator, which would disturb
    the timing.
    """
    return trim_heap if library.ahead_of_time else lambda: None


def _facts(library: TensorRtLibrary, network: Any, profiles: Sequence[ShapeProfile]) -> NetworkFacts:
    if not profiles:
        return inspect_network(library, network, {}, [{}])
    opt = {name: shapes.opt for name, shapes in profiles[0].items()}
    maxima = [{name: shapes.max for name, shapes in profile.items()} for profile in profiles]
    return inspect_network(library, network, opt, maxima)


def _failure(library: TensorRtLibrary, engine: Path, what: str, log: BuilderLog) -> EngineError:
    said = "\n".join(f"- {line}" for line in log.errors or ("the library logged no error",))
    hint = next((hint for sign, hint in _HINTS.items() if sign in said), None)
    return EngineError(f"{library.title} {what} for {engine.name}:\n{said}", hint=hint)
