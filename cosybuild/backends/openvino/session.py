"""Sessions on a compiled IR on the CPU, for verification and timing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cosybuild.backends.openvino.compiling import DEVICE, CompiledIr, compile_ir, dtype_name, reason_of
from cosybuild.backends.session import Array, failed_inference
from cosybuild.errors import OpenVinoError
from cosybuild.lazy import require
from cosybuild.system.heap import trim_heap

_POLL_MS = 200
"""Interval in milliseconds at which a waiting call checks for Ctrl-C."""


class OpenVinoSession:
    """A session on a compiled IR, for one caller at a time.

    Args:
        openvino: the Python module.
        compiled: the compiled IR.
        precision: the precision for which the IR was compiled, for reports.
    """

    def __init__(self, openvino: Any, compiled: CompiledIr, precision: str) -> None:
        self._openvino = openvino
        self._compiled = compiled
        self._precision = precision
        self._request = compiled.model.create_infer_request()

    @property
    def device(self) -> str:
        return f"openvino {self._openvino.__version__.partition('-')[0]} {DEVICE} {self._precision}"

    @property
    def dtypes(self) -> dict[str, str]:
        """The type of each input by name, as specifications name types."""
        ports = zip(self._compiled.inputs, self._compiled.model.inputs, strict=True)
        return {name: dtype_name(port.element_type) for name, port in ports}

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._run(self._tensors(inputs))
        return {name: self._request.get_tensor(name).data.copy() for name in self._compiled.outputs}

    def bound(self, inputs: Mapping[str, Array]) -> Callable[[], None]:
        """Return a function that runs the IR on these inputs without copying them, for timing.

        It raises like `infer`.
        """
        tensors = self._tensors(inputs)
        return lambda: self._run(tensors)

    def _tensors(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        # OpenVINO cannot share the memory of an array that is not contiguous, so such an array is copied once here.
        return {name: self._openvino.Tensor(_contiguous(array), shared_memory=True) for name, array in inputs.items()}

    def _run(self, tensors: Mapping[str, Any]) -> None:
        try:
            for name, tensor in tensors.items():
                self._request.set_tensor(name, tensor)
            self._request.start_async()
            while not self._request.wait_for(_POLL_MS):
                pass
        except RuntimeError as error:
            raise failed_inference(error, reason_of(error)) from error
        except KeyboardInterrupt:
            self._request.cancel()
            raise


def load(path: Path, precision: str, *, threads: int = 1) -> OpenVinoSession:
    """Compile the IR in `path` and open a session on it.

    Args:
        path: the .xml file.
        precision: `fp32`, `bf16` or `fp16`.
        threads: CPU threads of one run; 0 leaves the number to OpenVINO.

    Raises:
        MissingRequirement: OpenVINO is not installed.
        OpenVinoError: OpenVINO cannot read or compile the IR.
    """
    openvino = require("openvino", "An OpenVINO IR")
    try:
        compiled = compile_ir(openvino, path, precision, threads)
    except RuntimeError as error:
        raise OpenVinoError(
            f"OpenVINO {openvino.__version__} does not compile {path.name}: {reason_of(error)}",
            hint="Next: run the build that made it again; or try another ov.precision.",
        ) from error
    trim_heap()
    return OpenVinoSession(openvino, compiled, precision)


def _contiguous(array: Array) -> Array:
    import numpy as np

    result: Array = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray gives a scalar an axis
    return result
