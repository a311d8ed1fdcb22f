"""A stand-in for tritonserver's Python backend, made after its documentation; tritonserver itself does not run here.

`backend_utils` has the classes and functions of `triton_python_backend_utils` that the README of the Python backend
documents and a model of cosybuild uses. `Server` loads a model of a repository as the backend does: it parses
config.pbtxt, imports model.py of the version, passes the arguments of `initialize` as text, and checks requests and
responses against the configuration, as the server does before and after the backend.

Not covered: the server's scheduling (queues, the sequence batcher), shared memory, and the JSON of the configuration
where it differs from protobuf's.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_TYPES = {10: np.float16, 11: np.float32, 8: np.int32, 1: np.bool_}
"""Number of a type in model_config.proto -> numpy's type."""


class Tensor:
    """A tensor on the CPU."""

    def __init__(self, name: str, values: np.ndarray[Any, Any]) -> None:
        assert isinstance(values, np.ndarray), "the backend takes numpy arrays only"
        self._name, self._values = name, np.ascontiguousarray(values)

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray[Any, Any]:
        return self._values


class TritonError:
    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class InferenceResponse:
    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        self._tensors, self._error = output_tensors, error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class InferenceRequest:
    def __init__(self, inputs: list[Tensor], request_id: str, correlation_id: int | str) -> None:
        self._inputs, self._request_id, self._correlation_id = inputs, request_id, correlation_id

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def request_id(self) -> str:
        return self._request_id

    def correlation_id(self) -> int | str:
        """Return the id of the sequence; 0 for a request that has none."""
        return self._correlation_id


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor | None:
    """Return the tensor, or None if the request does not have it."""
    return next((tensor for tensor in request.inputs() if tensor.name() == name), None)


def backend_utils() -> ModuleType:
    """Return the module `triton_python_backend_utils`."""
    module = ModuleType("triton_python_backend_utils")
    for each in (Tensor, TritonError, InferenceResponse, InferenceRequest, get_input_tensor_by_name):
        setattr(module, each.__name__, each)
    return module


class RequestRefused(Exception):
    """The server refuses a request that does not have the inputs of the configuration."""


class Server:
    """One instance of a model of a repository."""

    _numbers = itertools.count()

    def __init__(self, model: Path) -> None:
        from google.protobuf import json_format, text_format
        from tritonclient.grpc import model_config_pb2

        self.config: Any = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        assert (self.config.backend, self.config.name) == ("python", model.name)
        (version,) = self.config.version_policy.specific.versions
        name = f"triton_model_{next(self._numbers)}"
        specification = importlib.util.spec_from_file_location(name, model / str(version) / "model.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        self.model = module.TritonPythonModel()
        self.model.initialize({
            "model_config": json_format.MessageToJson(self.config, preserving_proto_field_name=True),
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
            "model_repository": str(model),
            "model_version": str(version),
            "model_name": self.config.name,
        })  # fmt: skip

    def infer(self, *requests: Mapping[str, Any]) -> list[np.ndarray[Any, Any] | TritonError]:
        """Return the waveform or the error of each request of one call of the backend.

        Args:
            requests: inputs by name; `request_id` and `sequence` are the ids.

        Raises:
            RequestRefused: a request does not have the inputs of the configuration.
        """
        given = [self._checked(request) for request in requests]
        responses = self.model.execute(given)
        assert len(responses) == len(requests)
        return [self._result(response) for response in responses]

    def _checked(self, request: Mapping[str, Any]) -> InferenceRequest:
        values = {name: value for name, value in request.items() if name not in ("request_id", "sequence")}
        known = {port.name: port for port in self.config.input}
        for name, port in known.items():
            if name not in values and not port.optional:
                raise RequestRefused(f"{name} is missing")
        for name, value in values.items():
            dims = [self.config.max_batch_size, *known[name].dims]
            if value.dtype != _TYPES[known[name].data_type] or not _fits(value.shape, dims):
                raise RequestRefused(f"{name} is {value.dtype} {value.shape}")
        tensors = [Tensor(name, value) for name, value in values.items()]
        return InferenceRequest(tensors, request.get("request_id", ""), request.get("sequence", 0))

    def _result(self, response: InferenceResponse) -> np.ndarray[Any, Any] | TritonError:
        if (error := response.error()) is not None:
            return error
        (tensor,) = response.output_tensors()
        (port,) = self.config.output
        values = tensor.as_numpy()
        assert (tensor.name(), values.dtype) == (port.name, _TYPES[port.data_type])
        assert _fits(values.shape, [self.config.max_batch_size, *port.dims])
        return values[0]


def _fits(shape: tuple[int, ...], dims: list[int]) -> bool:
    return len(shape) == len(dims) and all(size in (own, -1) for own, size in zip(shape, dims, strict=True))
