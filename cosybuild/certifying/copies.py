"""Copies of modules that share their tensors, so that a changed copy of a large network costs no memory."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


def sharing_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module that shares its tensors. Tensors of the copy may be replaced, not changed in place."""
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, memo)
