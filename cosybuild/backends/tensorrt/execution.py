"""Execution of an engine on a GPU as in serving: tensor addresses are set by name, and all work is on one stream.

Torch is imported inside the functions that allocate device memory with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.backends.session import Array
from cosybuild.backends.tensorrt.engine_facts import deserialise
from cosybuild.backends.tensorrt.library import TensorRtLibrary
from cosybuild.errors import EngineError

if TYPE_CHECKING:
    import torch


class EngineSession:
    """A session on an engine, with its own execution context, for one call at a time.

    Args:
        library: the library with which the engine was built.
        engine: a deserialised engine.
        profile: index of the optimisation profile to use.
        in_place: output -> the input in whose memory it is written; both have the same shape and type.
    """

    def __init__(self, library: TensorRtLibrary, engine: Any, profile: int, in_place: Mapping[str, str]) -> None:
        import torch

        self._library, self._engine, self._in_place = library, engine, dict(in_place)
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inward = library.module.TensorIOMode.INPUT
        self._inputs = [name for name in names if engine.get_tensor_mode(name) == inward]
        self._outputs = [name for name in names if name not in self._inputs]
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # so is torch
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(
                f"{library.title} cannot make an execution context: most likely the GPU's memory is full.",
                hint="Next: free GPU memory, or build with a smaller trt_profile.",
            )
        if profile:
            self._context.set_optimization_profile_async(profile, self._stream.cuda_stream)
            self._stream.synchronize()

    @property
    def device(self) -> str:
        import torch

        return f"{self._library.title} {torch.cuda.get_device_name()}"

    @property
    def dtypes(self) -> dict[str, str]:
        """The type of each input by name, as specifications name types."""
        return {name: str(self._dtype(name)).removeprefix("torch.") for name in self._inputs}

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the engine on arrays in host memory and return all outputs by name.

        Raises:
            EngineError: a shape is outside the profile, or the execution failed.
        """
        from cosybuild.backends.torch_backend import array_from_tensor, tensor_from_array

        assert set(inputs) == set(self._inputs), (sorted(inputs), self._inputs)
        fed = {name: tensor_from_array(inputs[name]).to("cuda").contiguous() for name in self._inputs}
        return {name: array_from_tensor(tensor) for name, tensor in self.run(fed).items()}

    def run(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run the engine on contiguous tensors in device memory, and return all outputs by name.

        With `in_place`, an output overwrites one of the inputs.

        Raises:
            EngineError: see `infer`.
        """
        import torch

        for name, tensor in inputs.items():
            # Upstream ignores this return value; a refused shape would then run with the sizes of the last call.
            if not self._context.set_input_shape(name, tuple(tensor.shape)):
                raise EngineError(
                    f"the engine does not take shape {tuple(tensor.shape)} for input '{name}': "
                    "it is outside the optimisation profile.",
                    hint="Next: build with a trt_profile that covers it.",
                )
        outputs = {name: self._output(name, inputs) for name in self._outputs}
        for name, tensor in {**inputs, **outputs}.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        self._stream.wait_stream(torch.cuda.current_stream())
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise EngineError(
                f"{self._library.title} could not run the engine on {torch.cuda.get_device_name()}.",
                hint="Next: end other programs on the GPU; `nvidia-smi` lists them and their memory.",
            )
        self._stream.synchronize()
        return outputs

    def _output(self, name: str, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        import torch

        if name in self._in_place:
            return inputs[self._in_place[name]]
        return torch.empty(tuple(self._context.get_tensor_shape(name)), dtype=self._dtype(name), device="cuda")

    def _dtype(self, name: str) -> torch.dtype:
        import torch

        dtypes = {"FLOAT": torch.float32, "HALF": torch.float16, "BF16": torch.bfloat16, "INT32": torch.int32,
                  "INT64": torch.int64, "BOOL": torch.bool}  # fmt: skip
        return dtypes[self._engine.get_tensor_dtype(name).name]


def load(
    library: TensorRtLibrary, path: Path, *, profile: int = 0, in_place: Mapping[str, str] | None = None
) -> EngineSession:
    """Deserialise the engine in `path` and open a session on it, on torch's current CUDA device.

    Args:
        library: the library with which the engine was built.
        path: the engine file.
        profile: index of the optimisation profile to use.
        in_place: output -> the input in whose memory it is written; None for no such output.

    Raises:
        EngineError: the engine does not load on this machine.
    """
    return EngineSession(library, deserialise(library, path), profile, in_place or {})
