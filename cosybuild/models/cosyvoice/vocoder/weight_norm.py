"""Weight norm in checkpoints: w = g v / |v| (Salimans and Kingma, 2016), its two spellings, and the folded weight."""

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
    """Return a tensor's name in the newer spelling; the older spelling has `weight_g` and `weight_v`."""
    return re.sub(r"\.weight_[gv]$", lambda match: _OLDER[match[0]], name)


def stored_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the state dict that a checkpoint of the module has, with its tensors on the meta device.

    A weight with norm is stored as a magnitude for each slice of axis 0 and a direction of the weight's shape.
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
    """Return the module's own state dict from the stored tensors; weights are folded in float64.

    Args:
        stored: all names of `stored_tensors`.
        dtype: type of the result.
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
