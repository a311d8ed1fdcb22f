"""Facts that are read from a deserialised engine. This needs a GPU on which the engine runs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.backends.tensorrt.inspection import TensorFact
from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.backends.tensorrt.log import BuilderLog, logger_into
from cosybuild.errors import EngineError

# The inspector's names of types differ between versions.
_TYPES = {
    "FLOAT": re.compile(r"\b(FP32|Float|float32)\b"),
    "HALF": re.compile(r"\b(FP16|Half|float16)\b"),
    "BF16": re.compile(r"\b(BF16|BFloat16|bfloat16)\b"),
    "FP8": re.compile(r"\b(FP8|float8)\b"),
}


@dataclass(frozen=True)
class OpenedFacts:
    """Facts that a deserialised engine and its inspector report.

    Attributes:
        tensors: inputs and outputs in binding order.
        profiles: for each profile, input -> (min, opt, max) shapes.
        activation_bytes: for each profile, the device memory that an execution context allocates, in bytes.
        layers: type -> number of layers whose first output has this type; empty if the engine stores only layer names.
    """

    tensors: tuple[TensorFact, ...]
    profiles: tuple[Mapping[str, tuple[tuple[int, ...], ...]], ...]
    activation_bytes: tuple[int, ...]
    layers: Mapping[str, int]


def deserialise(library: TensorRtLibrary, path: Path) -> Any:
    """Deserialise an engine file and return the engine object.

    Raises:
        EngineError: the engine does not load on this machine; the message has the library's reasons.
    """
    log = BuilderLog()
    logger = logger_into(library.module, log)
    runtime = library.module.Runtime(logger)
    engine = None if runtime is None else runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        said = "; ".join(log.errors) or "it gives no reason"
        raise EngineError(
            f"{library.title} does not load {path.name}: {said}.",
            hint=f"Next: python -m cosybuild check {path}",
        )
    return engine


def inspect_engine(library: TensorRtLibrary, path: Path) -> OpenedFacts:
    """Deserialise an engine file and read its facts.

    Raises:
        EngineError: the engine does not load on this machine.
    """
    engine = deserialise(library, path)
    module = library.module
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    tensors = tuple(
        TensorFact(
            name,
            "input" if engine.get_tensor_mode(name) == module.TensorIOMode.INPUT else "output",
            engine.get_tensor_dtype(name).name,
            tuple(engine.get_tensor_shape(name)),
        )
        for name in names
    )
    inputs = [tensor.name for tensor in tensors if tensor.mode == "input"]
    count = range(engine.num_optimization_profiles)
    profiles = tuple(
        {name: tuple(tuple(shape) for shape in engine.get_tensor_profile_shape(name, index)) for name in inputs}
        for index in count
    )
    inspector = engine.create_engine_inspector()
    told = json.loads(inspector.get_engine_information(module.LayerInformationFormat.JSON))
    return OpenedFacts(tensors, profiles, tuple(_context_bytes(engine, index) for index in count), layer_types(told))


def layer_types(told: Mapping[str, Any]) -> dict[str, int]:
    """Return type -> number of layers whose first output has this floating-point type, from the inspector's JSON."""
    return dict(Counter(_types(told.get("Layers", ()))))


def _types(layers: Any) -> Iterator[str]:
    for layer in layers:
        if isinstance(layer, str):  # an engine built without detailed profiling has only names
            continue
        for output in layer.get("Outputs", ())[:1]:
            stated = " ".join(str(value) for key, value in output.items() if key not in ("Name", "Dimensions"))
            yield from (name for name, pattern in _TYPES.items() if pattern.search(stated))


def _context_bytes(engine: Any, profile: int) -> int:
    # TensorRT 10.1 added the method with `_v2`, and TensorRT 11 removed the one without.
    for name in ("get_device_memory_size_for_profile_v2", "get_device_memory_size_for_profile"):
        if hasattr(engine, name):
            return int(getattr(engine, name)(profile))
    return int(engine.device_memory_size)
