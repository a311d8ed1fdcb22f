"""The PyTorch backend, with which the reference is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from cosybuild.backends.session import Array, failed_inference

_LONGEST = 400  # largest number of characters of an error's text


class TorchSession:
    """A session on a PyTorch module. It passes inputs by position and gives names to inputs and outputs."""

    def __init__(self, module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._module = module
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)

    @property
    def device(self) -> str:
        first = next(self._module.parameters(), None)
        return f"torch {torch.__version__} {'cpu' if first is None else first.device}"

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        assert set(inputs) == set(self._inputs), (sorted(inputs), self._inputs)
        first = next(self._module.parameters(), None)
        with torch.inference_mode():
            arguments = [tensor_from_array(inputs[name]) for name in self._inputs]
            if first is not None:
                arguments = [argument.to(first.device) for argument in arguments]
            try:
                answer = self._module(*arguments)
            except (RuntimeError, ValueError, TypeError, LookupError) as error:
                words = f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST]}"
                raise failed_inference(error, words) from error
        answers = answer if isinstance(answer, (tuple, list)) else (answer,)
        assert len(answers) == len(self._outputs), (len(answers), self._outputs)
        return {name: array_from_tensor(tensor) for name, tensor in zip(self._outputs, answers, strict=True)}


def load(module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> TorchSession:
    """Open a session on a PyTorch module.

    Args:
        module: the module, already in eval mode and on its device.
        inputs: names of the positional arguments of `forward`, in order.
        outputs: names of the values that `forward` returns, in order.
    """
    return TorchSession(module, inputs, outputs)


def tensor_from_array(array: Array) -> torch.Tensor:
    """Return a tensor that shares the array's memory. bfloat16 is passed as int16, because numpy has no bfloat16."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def array_from_tensor(tensor: torch.Tensor) -> Array:
    """Return a tensor's values as an array in host memory. A contiguous CPU tensor shares its memory with the array."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype is torch.bfloat16:
        import ml_dtypes

        bits: Array = tensor.view(torch.int16).numpy()
        return bits.view(ml_dtypes.bfloat16)
    values: Array = tensor.numpy()
    return values
