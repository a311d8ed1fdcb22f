"""The backend of ONNX Runtime, on the CPU, or on a CUDA device if the CUDA provider loads."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from cosybuild.backends.session import Array, failed_inference
from cosybuild.config.groups.verify import Provider
from cosybuild.dtypes import DTYPES, FROM_ONNXRUNTIME
from cosybuild.errors import ExportError, MissingRequirement
from cosybuild.onnxgraph.external import unsafe_data
from cosybuild.system.heap import trim_heap

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

_FATAL, _WARNING = 4, 2  # log severities of ONNX Runtime
_BFLOAT16 = DTYPES["bfloat16"].onnx


class OnnxRuntimeSession:
    """A session on an ONNX graph that ONNX Runtime has loaded."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._outputs: list[str] = [node.name for node in session.get_outputs()]
        # One worker thread runs all calls. ONNX Runtime then keeps that thread's buffers, and the calling thread can
        # handle Ctrl-C.
        self._calls = ThreadPoolExecutor(1, thread_name_prefix="onnxruntime")
        self._half = any("bfloat16" in node.type for node in (*session.get_inputs(), *session.get_outputs()))

    @property
    def device(self) -> str:
        return f"onnxruntime {onnxruntime.__version__} {self._session.get_providers()[0]}"

    @property
    def dtypes(self) -> dict[str, str]:
        """The type of each input by name, as specifications name types. Inputs of other types are left out."""
        return {
            node.name: FROM_ONNXRUNTIME[node.type]
            for node in self._session.get_inputs()
            if node.type in FROM_ONNXRUNTIME
        }

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        # numpy has no bfloat16, so graphs with bfloat16 inputs or outputs are called with OrtValues.
        options = onnxruntime.RunOptions()
        options.log_severity_level = _FATAL
        try:
            if self._half:
                values = {name: _value(array) for name, array in inputs.items()}
                run = self._calls.submit(self._session.run_with_ort_values, None, values, options)
                answers = [_array(value) for value in _awaited(run, options)]
            else:
                answers = _awaited(self._calls.submit(self._session.run, None, dict(inputs), options), options)
        except _REFUSALS as error:
            raise failed_inference(error, _one_line(error)) from error
        return dict(zip(self._outputs, answers, strict=True))

    def infer_in_place(self, inputs: Mapping[str, Array], over: str) -> Array:
        """Run the graph with its only output in the memory of the input `over`, and return the output.

        The input `over` has the output's shape and type.

        Raises:
            InferenceFailed: see `infer`.
        """
        device, number = ("cuda", 0) if self._session.get_providers()[0] == CUDA else ("cpu", 0)
        binding = self._session.io_binding()
        values = {name: _value(array, device) for name, array in inputs.items()}
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        shared, (output,) = values[over], self._outputs
        element = _BFLOAT16 if inputs[over].dtype.name == "bfloat16" else inputs[over].dtype
        binding.bind_output(output, device, number, element, shared.shape(), shared.data_ptr())
        try:
            self._session.run_with_iobinding(binding)
        except (*_REFUSALS, RuntimeError) as error:  # a wrong size raises RuntimeError
            raise failed_inference(error, _one_line(error)) from error
        binding.synchronize_outputs()
        return _array(shared)

    def bound(self, inputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return a function that runs the graph on inputs that are already on the device, for timing.

        The inputs are copied to the device here, once. The function raises InferenceFailed like `infer`.
        """
        place = "cuda" if self._session.get_providers()[0] == CUDA else "cpu"
        binding = self._session.io_binding()
        values = [_value(array, place) for array in inputs.values()]
        for name, value in zip(inputs, values, strict=True):
            binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            binding.bind_output(name, place)

        def call() -> None:
            try:
                self._session.run_with_iobinding(binding)
            except (*_REFUSALS, RuntimeError) as error:  # runs with a binding raise RuntimeError for a wrong size
                raise failed_inference(error, _one_line(error)) from error
            binding.synchronize_outputs()

        return call


class Level(Enum):
    """The graph optimisations of a session, under ONNX Runtime's names."""

    all = "ORT_ENABLE_ALL"
    extended = "ORT_ENABLE_EXTENDED"  # without optimisations of the memory layout
    none = "ORT_DISABLE_ALL"


def load(
    path: Path, *, provider: Provider = Provider.cpu, threads: int = 1, level: Level = Level.all
) -> OnnxRuntimeSession:
    """Open a session on the graph in `path`.

    Args:
        path: the ONNX file; its external data is stored beside it.
        provider: `cpu`, `cuda`, or `auto`, which uses CUDA if its provider loads, else the CPU.
        threads: ONNX Runtime's intra_op_num_threads; 0 leaves the number to ONNX Runtime.
        level: the graph optimisations; `none` runs the graph as it is written.

    Raises:
        MissingRequirement: `cuda` is requested, but its provider does not load on this machine.
        ExportError: ONNX Runtime refuses the graph, or its external data must not be read.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level.value)
    options.intra_op_num_threads = threads
    options.log_severity_level = _FATAL
    providers = _providers(provider)
    if (fault := unsafe_data(path)) is not None:
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} does not load {path.name}: it {fault}",
            hint="Next: run the build that made it again.",
        )
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except _REFUSALS as error:
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} does not load {path.name}: {_one_line(error)}",
            hint="Next: export with another opset or exporter, e.g. export=opset18 export.exporter=torchscript.",
        ) from error
    # After reading the file and packing the weights, the heap keeps freed memory of half the size of the weights.
    # Return it to the OS.
    trim_heap()
    return OnnxRuntimeSession(session)


def _awaited(run: Future[list[Any]], options: onnxruntime.RunOptions) -> list[Any]:
    """Wait for a call and return its outputs. On Ctrl-C, end the call at the next operator.

    Otherwise the call would run to its end, which takes up to a minute.
    """
    try:
        return run.result()
    except KeyboardInterrupt:
        options.terminate = True
        wait([run])
        raise


@cache
def cuda_loads() -> bool:
    """Return True if the CUDA provider loads. ONNX Runtime also lists the provider on machines that cannot load it."""
    if CUDA not in onnxruntime.get_available_providers():
        return False
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    # A provider that fails to load is an expected result here, so its error is not printed.
    onnxruntime.set_default_logger_severity(_FATAL)
    try:
        probe = onnxruntime.InferenceSession(_identity_model(), options, providers=[CUDA, CPU])
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
    return CUDA in probe.get_providers()


def _providers(provider: Provider) -> list[str]:
    if provider is Provider.cpu:
        return [CPU]
    if cuda_loads():
        return [CUDA, CPU]
    if provider is Provider.cuda:
        raise MissingRequirement(
            f"ONNX Runtime's {CUDA} is requested but does not load on this machine (onnxruntime "
            f"{onnxruntime.__version__}; "
            f"listed: {', '.join(onnxruntime.get_available_providers())}).",
            hint="Next: verify.provider=auto, or install onnxruntime-gpu with its CUDA and cuDNN libraries.",
        )
    return [CPU]


def _identity_model() -> bytes:
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def _value(array: Array, place: str = "cpu") -> Any:
    if array.dtype.name == "bfloat16":
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array, place)


def _array(value: Any) -> Array:
    if value.element_type() != _BFLOAT16:
        plain: Array = value.numpy()
        return plain
    import ml_dtypes

    shape = value.shape()
    bits = (ctypes.c_uint16 * math.prod(shape)).from_address(value.data_ptr())
    copy: Array = np.array(bits, np.uint16).reshape(shape)
    return copy.view(ml_dtypes.bfloat16)


def _one_line(error: BaseException, limit: int = 400) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


# All error classes of ONNX Runtime; they have no common base class of their own.
_REFUSALS = (
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
)
