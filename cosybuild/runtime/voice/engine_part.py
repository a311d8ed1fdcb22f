"""A TensorRT engine of the estimator, used as a part of a voice. PyTorch is imported only if an engine is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosybuild import runtime
from cosybuild.errors import ArtifactRefused
from cosybuild.lazy import require
from cosybuild.runtime.admission import CPU, admit
from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.parts import COMPONENTS, ESTIMATOR, Graph

_CONDITIONS = ("x", "mask", "mu", "t", "spks", "cond")


class EnginePart:
    """An engine of the estimator, called with numpy arrays in CPU memory.

    Args:
        name: the name of the file.
        estimator: a `BuiltEstimator` with this one engine.
        streaming: True if the engine computes streaming attention, False for full attention.
        torch: the Python module.
    """

    def __init__(self, name: str, estimator: Any, streaming: bool, torch: Any) -> None:
        self.name = name
        self._estimator = estimator
        self._streaming = streaming
        self._torch = torch

    def __call__(self, **inputs: Array) -> Mapping[str, Array]:
        """Return the velocity under the name `estimator_out`; for inputs and errors see `BuiltEstimator.forward`."""
        device = self._estimator.device
        given = [self._torch.from_numpy(inputs[name]).to(device) for name in _CONDITIONS]
        velocity = self._estimator(*given, streaming=self._streaming)
        result: Array = velocity.cpu().numpy()
        return {"estimator_out": result}


def load_engine(graph: Graph, *, concurrency: int, timeout: float | None, trust: bool) -> EnginePart:
    """Load an engine of the estimator on the current CUDA device.

    Args:
        graph: the engine's file and manifest.
        concurrency, timeout, trust: see `load_voice`.

    Raises:
        ArtifactRefused: the file is an engine of another part, or must not be loaded, or this machine has no GPU that
            can run it.
        MissingRequirement: PyTorch or the library that loads the engine is not installed.
    """
    hint = f"Next: load_voice(..., forms={{'{COMPONENTS[graph.part]}': 'graph'}}), which runs on the CPU."
    if graph.part != ESTIMATOR:
        raise ArtifactRefused(
            f"{graph.path} is refused: a voice takes an engine of the estimator only, and it is a {graph.part}.",
            hint=hint,
        )
    # An engine reads and writes memory of the GPU, which PyTorch allocates.
    torch = require("torch", f"Serving {graph.name}")
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else CPU
    try:
        admit(graph.path, device, trust=trust)
    except ArtifactRefused as error:
        raise ArtifactRefused(error.message, hint=hint) from error
    estimator = runtime.load_estimator(graph.path, "cuda", concurrency=concurrency, timeout=timeout, trust=trust)
    return EnginePart(graph.name, estimator, graph.streaming, torch)
