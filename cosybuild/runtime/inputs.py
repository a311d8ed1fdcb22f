"""Checks of the tensors of one call: type, device, rank and shape. Each error gives the value and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cosybuild.errors import ServingError, ShapeRefused

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_EXPECTED = "float32, float16, bfloat16 or float64"


def check_kinds(tensors: Mapping[str, Any], streaming: Any, device: torch.device) -> None:
    """Check that every input is a dense floating-point tensor on `device`. The mask may also be bool.

    Args:
        tensors: input name -> the value that the caller gave.
        streaming: the caller's argument of that name.
        device: the device on which the estimator was loaded.

    Raises:
        ServingError: an input is not such a tensor, or `streaming` is not a bool.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            found = "None" if tensor is None else f"a {type(tensor).__name__}"
            raise ServingError(f"{name} is {found}; a torch.Tensor ({_EXPECTED}) is expected.")
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise ServingError(
                f"{name} has the layout {tensor.layout}{' and is quantized' if tensor.is_quantized else ''}; "
                "a dense tensor (torch.strided) is expected.",
                hint=f"Next: give {name}.to_dense().",
            )
        if tensor.dtype not in _FLOATS and not (name == "mask" and tensor.dtype is torch.bool):
            raise ServingError(
                f"{name} has the type {str(tensor.dtype).removeprefix('torch.')}; {_EXPECTED}"
                f"{' or bool' if name == 'mask' else ''} is expected.",
                hint=f"Next: give {name}.float() if its values are correct.",
            )
        if tensor.device != device:
            raise ServingError(
                f"{name} is on {tensor.device}, but the estimator was loaded on {device}.",
                hint="Next: move the inputs to that device, or load the estimator on the device of the inputs.",
            )
    if not isinstance(streaming, bool):
        raise ServingError(f"streaming is {streaming!r}; True or False is expected.")


def check_shapes(tensors: Mapping[str, Tensor]) -> None:
    """Check that the shapes of all inputs of an estimator's call agree with the shape of x, (batch, mel, frames).

    Args:
        tensors: input name -> tensor.

    Raises:
        ShapeRefused: an input has another shape; the message names the input, its shape and the expected one.
    """
    x = tensors["x"]
    if x.ndim != 3:
        raise ShapeRefused(f"x has the shape {tuple(x.shape)}; (batch, mel, frames) is expected.")
    batch, mel, frames = x.shape
    wanted: dict[str, tuple[int | None, ...]] = {
        "mask": (batch, 1, frames),
        "mu": (batch, mel, frames),
        "t": (batch,),
        "spks": (batch, None),
        "cond": (batch, mel, frames),
    }
    for name, want in wanted.items():
        shape = tuple(tensors[name].shape)
        if len(shape) != len(want) or any(w not in (None, s) for s, w in zip(shape, want, strict=True)):
            expected = ", ".join("any" if size is None else str(size) for size in want)
            raise ShapeRefused(f"{name} has the shape {shape}; with x {tuple(x.shape)}, ({expected}) is expected.")
