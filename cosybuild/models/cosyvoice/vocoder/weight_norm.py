"""Weight norm in checkpoints: w = g v / |v| (Salimans and Kingma, 2016), its names, and the folded weight w."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.vocoder.convolution import NormedConvolution, NormedTransposedConvolution

MAGNITUDE = ".parametrizations.weight.original0"
DIRECTION = ".parametrizations.weight.original1"

_OLDER = {".weight_g": MAGNITUDE, ".weight_v": DIRECTION}


def newer_name(name: str) -> str:
    """Return the name that newer versions of torch give a tensor; older ones call it `weight_g` or `weight_v`."""
    return re.sub(r"\.weight_[gv]$", lambda match: _OLDER[match[0]], name)


def stored_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint of the module, with the right shapes, on the meta device.

    A checkpoint stores a weight with weight norm as two tensors: one magnitude for each slice of axis 0, and a
    direction in the shape of the weight.
    """
    normed = _normed(module)
    result: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        owner = name.removesuffix(".weight")
        if owner == name or owner not in normed:
            result[name] = torch.empty(tensor.shape, device="meta")
            continue
        result[owner + MAGNITUDE] = torch.empty(tensor.shape[0], *[1] * (tensor.ndim - 1), device="meta")
        result[owner + DIRECTION] = torch.empty(tensor.shape, device="meta")
    return result


def fold(module: nn.Module, stored: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the state dict of the module, with folded weights, from the tensors of a checkpoint.

    Args:
        module: the vocoder.
        stored: the checkpoint's tensors, with all names that `stored_tensors` returns.
        dtype: type of the result. Weights are folded in float64 first.
    """
    normed = _normed(module)
    result: dict[str, Tensor] = {}
    for name in module.state_dict():
        owner = name.removesuffix(".weight")
        if owner == name or owner not in normed:
            result[name] = stored[name].to(dtype)
            continue
        magnitude, direction = (stored[owner + part].double() for part in (MAGNITUDE, DIRECTION))
        axes = tuple(range(1, direction.ndim))
        result[name] = (magnitude * direction / direction.norm(dim=axes, keepdim=True)).to(dtype)
    return result


def _normed(module: nn.Module) -> set[str]:
    kinds = (NormedConvolution, NormedTransposedConvolution)
    return {name for name, part in module.named_modules() if isinstance(part, kinds)}
